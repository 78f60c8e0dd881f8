# sbx-case fun-after-its-step | category: questions | expect: hold | timeout: 20 | must: a call in the name of a step that is over reaches no driver
@RAW@
over = step
# --- next cell ---
@RAW@
step = over
write(call([next(numbers), "echo", '{"FORGED": 1}']))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
