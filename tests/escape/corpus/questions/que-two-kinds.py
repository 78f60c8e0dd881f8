# sbx-case que-two-kinds | category: questions | expect: break | timeout: 20 | must: a frame of two kinds ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame({'budget': 1_000, 'cancel': [1]}))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
