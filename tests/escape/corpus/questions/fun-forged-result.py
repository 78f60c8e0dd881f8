# sbx-case fun-forged-result | category: questions | expect: break | timeout: 20 | must: a result that a kernel gives itself ends the kernel with the reason
@RAW@
write(frame({"got": [[1, True, '"FORGED"']]}))
threading.Event().wait()
# --- next cell ---
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
