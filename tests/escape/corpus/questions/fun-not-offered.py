# sbx-case fun-not-offered | category: questions | expect: hold | timeout: 20 | must: frames that name functions which nobody offers reach no driver
@RAW@
for name in ("FORGED", "eval", "echo_", "__import__", "\u1d49cho"):
    write(call([next(numbers), name, '{"FORGED": 1}']))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
