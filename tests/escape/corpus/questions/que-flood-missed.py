# sbx-case que-flood-missed | category: questions | expect: interrupt | timeout: 20 | must: word without end of answers that never were: the server does not grow, others are served, and it ends with its step
@RAW@
asking._start()
stop_reading()
rest = f', "of": {list(range(1, 10_001))}}}}}'.encode()
for number in numbers: write(frame(b'{"missed": {"id": %d' % number + rest))
