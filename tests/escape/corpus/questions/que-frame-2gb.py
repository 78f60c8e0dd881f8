# sbx-case que-frame-2gb | category: questions | expect: break | timeout: 20 | must: a frame of 2 GB, before any of it has come ends the kernel with the reason, and the next one asks as this one did
@RAW@
write((2**31).to_bytes(4, 'big'))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
