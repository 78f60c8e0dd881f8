# sbx-case que-long-number | category: questions | expect: break | timeout: 20 | must: a number of any length ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame(b'{"budget": ' + b'9' * 100_000 + b'}'))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
