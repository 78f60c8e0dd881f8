# sbx-case que-model | category: questions | expect: hold | timeout: 20 | must: code chooses no endpoint: what is no model of the user's is refused by policy

said = []
for model in ("http://127.0.0.1:@CANARY_PORT@/v1", "m\r\nhost: x", "../m", "M", "m "):
    try: said.append(llm_query("FORGED", model=model))
    except SubcallError as error: said.append(error.code)
print("HELD" if set(said) == {"refused"} else "ESCAPED", said)
