# sbx-case que-schema-remote | category: questions | expect: hold | timeout: 20 | must: a schema's reference to elsewhere is never followed, and the host looks into none

def deep(depth):
    made = {"type": "string"}
    for _ in range(depth): made = {"not": made}
    return made
said = []
for ask in (lambda: llm_query("p", schema={"$ref": "http://127.0.0.1:@CANARY_PORT@/s.json"}), lambda: llm_query_batched(["p", "q"], schema={"$ref": "http://127.0.0.1:@CANARY_PORT@/s.json"})[0]):
    try: got = ask()
    except SubcallError as error: got = error
    said.append(got.code if isinstance(got, SubcallError) else "answered")
print("HELD" if set(said) <= {"schema"} else "BROKEN", said)
