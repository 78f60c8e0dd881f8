# sbx-case que-schema-dynamic | category: questions | expect: hold | timeout: 20 | must: a reference that is resolved as it goes has an end, and the host looks into none

def deep(depth):
    made = {"type": "string"}
    for _ in range(depth): made = {"not": made}
    return made
said = []
for ask in (lambda: llm_query("p", schema={"$dynamicAnchor": "x", "$dynamicRef": "#x"}), lambda: llm_query_batched(["p", "q"], schema={"$dynamicAnchor": "x", "$dynamicRef": "#x"})[0]):
    try: got = ask()
    except SubcallError as error: got = error
    said.append(got.code if isinstance(got, SubcallError) else "answered")
print("HELD" if set(said) <= {"schema"} else "BROKEN", said)
