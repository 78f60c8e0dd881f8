# sbx-case que-flood-equal | category: questions | expect: interrupt | timeout: 20 | must: equal questions without end, whose answers are long and not taken: the server does not grow, others are served, and it ends with its step
@RAW@
llm_query("long")
stop_reading()
while True: write(ask(*([next(numbers), "long", None] for _ in range(64))))
