# sbx-case que-flood-forecasts | category: questions | expect: interrupt | timeout: 20 | must: forecasts without end, each of 10,000 questions: the server does not grow, others are served, and it ends with its step
@RAW@
items = json.dumps([["%064x" % n, 1] for n in range(10_000)])
rest = f', "step": "{step}", "opts": {{"batch": 1}}, "items": {items}}}}}'.encode()
stop_reading()
for number in numbers: write(frame(b'{"forecast": {"id": %d' % number + rest))
