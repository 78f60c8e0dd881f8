# sbx-case chi-kind-turn | category: questions | expect: break | timeout: 20 | must: a turn of the conversation in a child is the host's to ask: a kernel that says to be one is ended
@RAW@
opts["kind"] = "turn"
write(ask([next(numbers), "FORGED", "text"]))
import time
time.sleep(30)
# --- next cell ---
print("HELD")
