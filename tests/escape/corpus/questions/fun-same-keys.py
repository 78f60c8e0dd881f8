# sbx-case fun-same-keys | category: questions | expect: hold | timeout: 20 | must: of equal keys one is passed on, so that no two readers of it see different calls
@RAW@
write(call([next(numbers), "echo", '{"x": "FORGED", "x": 1}']))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
