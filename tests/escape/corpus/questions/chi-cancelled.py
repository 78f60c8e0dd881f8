# sbx-case chi-cancelled | category: questions | expect: hold | timeout: 20 | must: children that are asked for and given up at once leave nothing that the next one would miss
@RAW@
opts.update(kind="rlm", of=1)
for number in range(1_000, 1_100):
    opts["batch"] = number
    write(ask([number, "print('never')", "text"]) + frame({"cancel": [number]}))
asking._ids = itertools.count(2_000)
# --- next cell ---
print("HELD" if "abc" in rlm_query("print(context)", "abc") else "BROKEN")
