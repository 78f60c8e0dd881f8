# sbx-case fun-without | category: questions | expect: hold | timeout: 20 | must: where no function is offered, neither code nor a frame calls one; and other questions are answered
@RAW@
write(call([next(numbers), "echo", '{"FORGED": 1}'], [next(numbers), "FORGED", "{}"]))
asking._ids = numbers
try:
    host_call("echo", FORGED=1)
except NameError as error:
    print("HELD" if "No function can be called here" in str(error) and llm_query("honest") == "echo of honest" else "BROKEN")
