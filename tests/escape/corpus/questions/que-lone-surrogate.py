# sbx-case que-lone-surrogate | category: questions | expect: break | timeout: 20 | must: a text that UTF-8 cannot hold ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(ask([1_000, '\ud800 FORGED', None]))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
