# sbx-case que-too-large | category: questions | expect: hold | timeout: 20 | must: a question beyond the limit that was sent all the same is not asked
@RAW@
number = next(numbers)
waiting = type(asking).__init__.__globals__["Waiting"]()
asking._start()
asking._waiting[number] = waiting
write(ask([number, "FORGED" * 100_000, None]))
said = waiting.future.result()
print("HELD" if said.code == "too_large" else "BROKEN", said)
