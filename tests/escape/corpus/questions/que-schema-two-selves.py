# sbx-case que-schema-two-selves | category: questions | expect: hold | timeout: 20 | must: two schemas that mean each other have an end, and the host looks into none

def deep(depth):
    made = {"type": "string"}
    for _ in range(depth): made = {"not": made}
    return made
said = []
for ask in (lambda: llm_query("p", schema={"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}), lambda: llm_query_batched(["p", "q"], schema={"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})[0]):
    try: got = ask()
    except SubcallError as error: got = error
    said.append(got.code if isinstance(got, SubcallError) else "answered")
print("HELD" if set(said) <= {"schema"} else "BROKEN", said)
