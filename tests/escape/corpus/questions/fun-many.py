# sbx-case fun-many | category: questions | expect: hold | timeout: 20 | must: ten thousand open calls are stopped with their step: the server does not grow, and others are served
@RAW@
for _ in range(160): write(call(*([next(numbers), "echo", "{}"] for _ in range(64))))
asking._ids = numbers
# --- next cell ---
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
