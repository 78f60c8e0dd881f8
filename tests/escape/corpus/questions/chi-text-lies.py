# sbx-case chi-text-lies | category: questions | expect: hold | timeout: 20 | must: a long text of another length than was announced is not taken, and nothing of it stays
import gc
asking = next(one for one in gc.get_objects() if type(one).__name__ == "Channel" and hasattr(one, "_outgoing"))
send = type(asking).send_text
def lying(self, number, descriptor):
    waiting = self._waiting.get(number)
    waiting.text = waiting.text[:-1] if waiting.text[0] == "a" else waiting.text + "x"
    send(self, number, descriptor)
type(asking).send_text = lying
got = [got if isinstance(got, str) else got.code for got in rlm_query_batched("print(1)", ["a" * 500_000, "b" * 500_000])]
type(asking).send_text = send
print("HELD" if got == ["backend", "backend"] and "500000" in rlm_query("print(len(context))", "c" * 500_000) else got)
