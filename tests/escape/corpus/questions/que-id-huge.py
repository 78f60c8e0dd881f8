# sbx-case que-id-huge | category: questions | expect: break | timeout: 20 | must: an id beyond what JSON's readers agree on ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(ask([2**53 + 1, 'FORGED', None]))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
