# sbx-case chi-text-of-a-model | category: questions | expect: break | timeout: 20 | must: a question to a model whose text comes later ends its kernel
@RAW@
write(ask([next(numbers), "FORGED", None, None, 500_000]))
import time
time.sleep(30)
# --- next cell ---
print("HELD")
