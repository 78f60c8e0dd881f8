# sbx-case que-crowded | category: questions | expect: break | timeout: 20 | must: a frame that is one, but for hundreds of thousands of empty lists where nobody looks, ends the kernel with the reason before it is read, and the next one asks as this one did
@RAW@
opts["ballast"] = [[]] * 400_000
write(ask([next(numbers), "FORGED", None]))
threading.Event().wait()
# --- next cell ---
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
