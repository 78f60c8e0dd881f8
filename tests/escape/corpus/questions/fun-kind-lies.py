# sbx-case fun-kind-lies | category: questions | expect: hold | timeout: 20 | must: a call that says to be a question to a model reaches no function, and none that says to be a child
@RAW@
opts["kind"] = "rlm"
write(ask([next(numbers), "echo", '{"lies": 1}']))
opts["kind"] = "llm"
write(ask([next(numbers), "echo", '{"lies": 1}']))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
