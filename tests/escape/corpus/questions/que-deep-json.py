# sbx-case que-deep-json | category: questions | expect: break | timeout: 20 | must: JSON of any depth ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame(b'[' * 30_000))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
