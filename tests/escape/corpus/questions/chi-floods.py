# sbx-case chi-floods | category: questions | expect: hold | timeout: 20 | must: what a child prints without end reaches its parent cut to what a turn shows
got = rlm_query("print('x' * 10_000_000)", "abc")
print("HELD" if "xxx" in got and len(got) < 20_000 else f"ESCAPED {len(got)}")
