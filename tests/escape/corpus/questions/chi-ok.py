# sbx-case chi-ok | category: questions | expect: allow | timeout: 20 | must: a question with a session of its own is answered from the text that is its context
got = rlm_query("print(len(context), budget().depth)", "abc")
print("OK" if "3 1" in got else got)
