# sbx-case krn-threads-escape-loop | category: kernel-integrity | expect: contain | timeout: 20 | must: code run on the kernel's control and iopub threads is confined like the main thread (Landlock is per thread before ABI 8)
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
try:
    import threading,queue
    q=queue.Queue()
    def f():
        try: q.put(("ok",open("@CANARY_FILE@").read()))
        except BaseException as e: q.put(("err",f"{type(e).__name__} {e}"[:60]))
    r=[]
    threads=[t for t in (K.control_thread, K.iopub_thread, K.shell_channel_thread) if t is not None]
    assert len(threads)>1
    for loop in [t.io_loop for t in threads]:
        loop.add_callback(f); r.append(q.get(timeout=5))
    ev=[x[1] for x in r if x[0]=="ok"]
    print(*(["ESCAPED", ev] if ev else ["HELD", *(x[1] for x in r)]))
except BaseException as e:
    print("HELD", type(e).__name__, str(e)[:160])
