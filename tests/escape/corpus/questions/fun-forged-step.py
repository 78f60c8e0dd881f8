# sbx-case fun-forged-step | category: questions | expect: hold | timeout: 20 | must: a call in the name of another request reaches no driver
@RAW@
for step in ("another", "", "x" * 200):
    write(call([next(numbers), "echo", '{"FORGED": 1}']))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
