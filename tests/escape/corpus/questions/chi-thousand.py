# sbx-case chi-thousand | category: questions | expect: hold | timeout: 20 | must: a thousand children at once are refused beyond the most, and end with their step
@RAW@
opts.update(kind="rlm", of=1)
for number in range(1_000, 2_000):
    opts["batch"] = number
    write(ask([number, "import time; time.sleep(3600)", "text"]))
asking._ids = itertools.count(3_000)
# --- next cell ---
print("HELD" if "abc" in rlm_query("print(context)", "abc") else "BROKEN")
