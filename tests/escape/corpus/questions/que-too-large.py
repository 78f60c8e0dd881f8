# sbx-case que-too-large | category: questions | expect: hold | timeout: 20 | must: a question beyond the limit that was sent all the same is not asked
@RAW@
number = next(numbers)
names = type(asking).__init__.__globals__
gate = names["Gate"]()
waiting = names["Waiting"].of(gate)
asking._start()
asking._waiting[number] = waiting
write(ask([number, "FORGED" * 100_000, None]))
asking._incoming.wanted()
gate.wait()
said = waiting.given
print("HELD" if said.code == "too_large" else "BROKEN", said)
