# sbx-case que-missed-unknown | category: questions | expect: hold | timeout: 20 | must: word of answers that never were changes nothing
@RAW@
for _ in range(20): write(frame({"missed": {"id": next(numbers), "of": list(range(1, 10_001))}}))
asking._ids = numbers
print("HELD" if llm_query("honest") == "echo of honest" else "BROKEN")
