# sbx-case que-schema-meta | category: questions | expect: hold | timeout: 20 | must: a schema's own dialect is never fetched, and the host looks into none

def deep(depth):
    made = {"type": "string"}
    for _ in range(depth): made = {"not": made}
    return made
said = []
for ask in (lambda: llm_query("p", schema={"$schema": "http://127.0.0.1:@CANARY_PORT@/dialect", "type": "string"}), lambda: llm_query_batched(["p", "q"], schema={"$schema": "http://127.0.0.1:@CANARY_PORT@/dialect", "type": "string"})[0]):
    try: got = ask()
    except SubcallError as error: got = error
    said.append(got.code if isinstance(got, SubcallError) else "answered")
print("HELD" if set(said) <= {"answered", "schema"} else "BROKEN", said)
