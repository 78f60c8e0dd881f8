# sbx-case fun-flood-arguments | category: questions | expect: interrupt | timeout: 20 | must: long arguments without end that are no JSON: what reading them costs is charged to the kernel
@RAW@
bad = '{"FORGED": ' + "[1, " * 20_000
while True: write(call(*([next(numbers), "echo", bad] for _ in range(4))))
