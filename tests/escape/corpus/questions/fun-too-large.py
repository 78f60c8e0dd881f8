# sbx-case fun-too-large | category: questions | expect: hold | timeout: 20 | must: arguments above the bound reach no driver, and end no kernel
@RAW@
write(call([next(numbers), "echo", '{"FORGED": "' + "x" * 400_000 + '"}']))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
