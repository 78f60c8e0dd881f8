# sbx-case que-forged-step | category: questions | expect: hold | timeout: 20 | must: a question for another request is not asked of anybody
@RAW@
for step in ("another", "", "x" * 200):
    write(ask([next(numbers), "FORGED", None]))
asking._ids = numbers
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
