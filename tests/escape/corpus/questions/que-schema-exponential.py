# sbx-case que-schema-exponential | category: questions | expect: interrupt | timeout: 20 | must: a schema that runs for ever runs in its own kernel, and ends with its step
parts = {"a0": {"type": "integer"}}
for n in range(60): parts[f"a{n + 1}"] = {"anyOf": [{"$ref": f"#/$defs/a{n}"}] * 2}
llm_query("p", schema={"$defs": parts, "$ref": "#/$defs/a60"})
