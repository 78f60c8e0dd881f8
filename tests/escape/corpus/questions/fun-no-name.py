# sbx-case fun-no-name | category: questions | expect: break | timeout: 20 | must: a name that is no identifier ends the kernel
@RAW@
write(call([next(numbers), "echo; FORGED()", "{}"]))
threading.Event().wait()
# --- next cell ---
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
