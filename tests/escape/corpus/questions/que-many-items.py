# sbx-case que-many-items | category: questions | expect: break | timeout: 20 | must: a frame of more questions than one may have ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(ask(*([1_000 + n, 'FORGED', None] for n in range(65))))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
