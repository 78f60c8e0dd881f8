# sbx-case fun-flood-refused | category: questions | expect: interrupt | timeout: 20 | must: calls without end that are refused: they cost their own kernel alone
@RAW@
while True: write(call(*([next(numbers), "FORGED", "{}"] for _ in range(64))))
