# sbx-case chi-breaks-its-own | category: questions | expect: hold | timeout: 20 | must: a child that breaks its own channel loses its kernel alone: its parent goes on
kept = 1
try:
    got = rlm_query('''@RAW@
write(b"garbage" * 1_000)
import time
time.sleep(30)
''', "abc")
except SubcallError as error:
    got = error.code
print("HELD" if kept and "abc" in rlm_query("print(context)", "abc") else got)
