# sbx-case que-flood-refused | category: questions | expect: interrupt | timeout: 20 | must: long questions without end of a model that may not be asked: the server does not grow, others are served, and it ends with its step
@RAW@
text = "FORGED" * 66_000
asking._start()
stop_reading()
rest = f', "p", "{text}"]]}}}}'.encode()
for number in numbers:
    head = f'{{"ask": {{"step": "{step}", "opts": {{"batch": {number}, "model": "another"}}, "items": [[{number}'
    write(frame(head.encode() + rest))
