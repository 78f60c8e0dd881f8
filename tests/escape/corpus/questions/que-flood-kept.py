# sbx-case que-flood-kept | category: questions | expect: interrupt | timeout: 20 | must: one long question again and again, whose answer is kept: the server does not grow, others are served, and it ends with its step
@RAW@
text = "FLOOD" * 79_000
llm_query("p", text)
stop_reading()
rest = f', "p", "{text}"]]}}}}'.encode()
for number in numbers:
    head = f'{{"ask": {{"step": "{step}", "opts": {{"batch": {number}}}, "items": [[{number}'
    write(frame(head.encode() + rest))
