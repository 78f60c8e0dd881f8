# sbx-case que-answer-itself | category: questions | expect: break | timeout: 20 | must: an answer of the kernel's to itself ends the kernel with the reason, and the next one asks as this one did
@RAW@
write(frame({'got': [[1, True, 'yes']]}))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
