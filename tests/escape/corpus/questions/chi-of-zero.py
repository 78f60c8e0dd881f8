# sbx-case chi-of-zero | category: questions | expect: break | timeout: 20 | must: a call that asks for no child ends its kernel
@RAW@
opts.update(kind="rlm", of=0)
write(ask([next(numbers), "p", "text"]))
import time
time.sleep(30)
# --- next cell ---
print("HELD")
