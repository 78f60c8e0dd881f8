# sbx-case que-no-json | category: questions | expect: break | timeout: 20 | must: a frame that is no JSON ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame(b'nope'))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
