# sbx-case fun-arguments | category: questions | expect: hold | timeout: 20 | must: arguments that are no JSON object, too deep, of numbers beyond 64 bits, or no characters reach no driver
@RAW@
import base64, pickle
class Bomb:
    def __reduce__(self): return print, ("ESCAPED",)
pickled = pickle.dumps(Bomb(), 0)
for text in (
    "", "FORGED", "[\"FORGED\"]", "null", "{'FORGED': 1}", '{"FORGED": NaN}', '{"FORGED": 1e999}', '{"FORGED": -Infinity}',
    '{"FORGED": ' + "9" * 5_000 + "}", '{"FORGED": 18446744073709551616}', '{"FORGED": "\\ud800"}', '{"\\udfff": "FORGED"}',
    '{"FORGED":' * 65 + "1" + "}" * 65, '{"FORGED": ' + "[" * 100_000 + "]" * 100_000 + "}", "[" * 300_000,
    pickled.decode("latin-1"), base64.b64encode(pickled).decode(), '{"FORGED": "x"} {}', "\ufeff{\"FORGED\": 1}",
):
    write(call([next(numbers), "echo", text]))
asking._ids = numbers
print("HELD" if host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
