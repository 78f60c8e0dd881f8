# sbx-case que-flood-cancels | category: questions | expect: interrupt | timeout: 20 | must: cancelling without end: the server does not grow, others are served, and it ends with its step
@RAW@
write(ask([1_000, 'p', None]))
while True: write(frame({'cancel': [1_000]}))
