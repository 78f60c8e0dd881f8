# sbx-case que-threads | category: questions | expect: hold | timeout: 20 | must: as many threads as there may be ask at once, of 10,000 that were wanted, and each has its answer
import threading
got, threads, go = [], [], threading.Event()
def ask(n):
    go.wait()
    got.append(llm_query(f"q{n % 10}"))
first = llm_query("q0")
try:
    for n in range(10_000):
        thread = threading.Thread(target=ask, args=(n,))
        thread.start()
        threads.append(thread)
except RuntimeError:
    pass
go.set()
for thread in threads: thread.join()
print("HELD" if threads and sorted(got) == sorted(f"echo of q{n % 10}" for n in range(len(threads))) else "BROKEN", len(threads))
