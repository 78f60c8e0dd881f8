# sbx-case que-flood-budgets | category: questions | expect: interrupt | timeout: 20 | must: asking for the budget without end and without reading: the server does not grow, others are served, and it ends with its step
@RAW@
asking._start()
stop_reading()
for number in numbers: write(frame({"budget": number}))
