# sbx-case chi-text-never | category: questions | expect: hold | timeout: 20 | must: a long text that is announced and never comes is ended with its step
@RAW@
kept = []
type(asking).send_text = lambda self, number, descriptor: kept.append(descriptor)
opts.update(kind="rlm", of=1)
for number in range(1_000, 1_100): write(ask([number, "print('never')", None, None, 64_000_000]))
asking._ids = itertools.count(2_000)
# --- next cell ---
print("HELD" if "abc" in rlm_query("print(context)", "abc") else "BROKEN")
