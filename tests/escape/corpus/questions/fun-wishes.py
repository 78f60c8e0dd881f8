# sbx-case fun-wishes | category: questions | expect: break | timeout: 20 | must: a call with the wishes of a question ends the kernel
@RAW@
write(call([next(numbers), "echo", '{"FORGED": 1}'], schema="{}", model="m", fresh=True))
threading.Event().wait()
# --- next cell ---
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
