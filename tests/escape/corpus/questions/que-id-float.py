# sbx-case que-id-float | category: questions | expect: break | timeout: 20 | must: an id that is no whole number ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(ask([1_000.5, 'FORGED', None]))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
