# sbx-case que-threads-first | category: questions | expect: hold | timeout: 20 | must: a first question where there may be no thread more fails, and is answered once there may be one
import threading
threads, go = [], threading.Event()
try:
    for n in range(10_000):
        thread = threading.Thread(target=go.wait)
        thread.start()
        threads.append(thread)
except RuntimeError:
    pass
try: said = llm_query("early")
except RuntimeError as error: said = error
go.set()
for thread in threads: thread.join()
print("HELD" if isinstance(said, RuntimeError) and llm_query("honest") == "echo of honest" else "BROKEN", repr(said))
