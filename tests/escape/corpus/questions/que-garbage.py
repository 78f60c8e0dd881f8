# sbx-case que-garbage | category: questions | expect: break | timeout: 20 | must: bytes that are no frame ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(b'\xff' * 1000)
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
