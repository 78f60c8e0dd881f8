# sbx-case chi-text-floods | category: questions | expect: hold | timeout: 20 | must: a long text that goes on beyond what was announced is cut off there
import gc
asking = next(one for one in gc.get_objects() if type(one).__name__ == "Channel" and hasattr(one, "_outgoing"))
send = type(asking).send_text
def flooding(self, number, descriptor):
    import os
    try:
        while True: os.write(descriptor, b"x" * 65_536)
    except OSError:
        os.close(descriptor)
    raise ValueError
type(asking).send_text = flooding
got = rlm_query_batched("print(1)", ["a" * 500_000])[0]
type(asking).send_text = send
print("HELD" if not isinstance(got, str) and got.code == "backend" else got)
