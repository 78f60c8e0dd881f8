# sbx-case chi-of-lies | category: questions | expect: hold | timeout: 20 | must: who says how many children a call asks for, and lies, has no larger share and no more of them
@RAW@
opts.update(kind="rlm", of=1)
for _ in range(3): write(ask(*([next(numbers), "print('never')", "text"] for _ in range(64))))
opts.update(batch=1_001, of=10_000)
write(ask([next(numbers), "print('never')", "text"]))
asking._ids = numbers
left = budget().subcalls
print("HELD" if 0 <= left <= 1_000 else left)
# --- next cell ---
print("HELD" if "abc" in rlm_query("print(context)", "abc") else "BROKEN")
