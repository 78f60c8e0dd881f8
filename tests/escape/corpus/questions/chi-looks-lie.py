# sbx-case chi-looks-lie | category: questions | expect: hold | timeout: 20 | must: a kernel that lies about an answer on trial has refused what its own code asked for, and no more
@RAW@
def looks(*numbers): return b"".join(frame({"looked": [number, "wrong " * 150]}) for number in numbers)
def lie(self, number, look, answer):
    with self._in_order: write(looks(number + 1, number, number, 1 << 53))
type(asking)._look = lie
with asking._in_order: write(looks(*range(1, 2_000)))
got = rlm_query("print(42)", "abc", schema=str)
print("HELD" if "not the schema that was asked for: wrong wrong" in got and "abc" in rlm_query("print(context)", "abc") else got)
