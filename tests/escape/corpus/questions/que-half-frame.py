# sbx-case que-half-frame | category: questions | expect: interrupt | timeout: 20 | must: half a frame that swallows the question behind it ends with its step
@RAW@
write((1_000_000).to_bytes(4, "big"))
llm_query("p")
