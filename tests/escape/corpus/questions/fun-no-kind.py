# sbx-case fun-no-kind | category: questions | expect: break | timeout: 20 | must: a kind that there is not ends the kernel
@RAW@
write(call([next(numbers), "echo", '{"FORGED": 1}'], kind="system"))
threading.Event().wait()
# --- next cell ---
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
