# sbx-case que-cancel-zero | category: questions | expect: break | timeout: 20 | must: the cancelling of what cannot be asked ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame({'cancel': [0]}))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
