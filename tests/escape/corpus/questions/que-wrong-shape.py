# sbx-case que-wrong-shape | category: questions | expect: break | timeout: 20 | must: a frame of another shape ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame({'ask': 5}))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
