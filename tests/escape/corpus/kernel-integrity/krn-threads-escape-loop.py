# sbx-case krn-threads-escape-loop | category: kernel-integrity | expect: contain | timeout: 20 | must: code run on the kernel's control and iopub threads is confined like the main thread (Landlock is per thread before ABI 8)
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
try:
    import threading,queue
    q=queue.Queue()
    def f():
        try: q.put(("ok",open("@CANARY_FILE@").read()))
        except BaseException as e: q.put(("err",repr(e)[:80]))
    r=[]
    for loop in (K.control_thread.io_loop, K.iopub_thread.io_loop, K.shell_channel_thread.io_loop):
        loop.add_callback(f); r.append(q.get(timeout=5))
    ev=[x[1] for x in r if x[0]=="ok"]
    if not ev: raise RuntimeError(str(r))
    print("ESCAPED", ev)
except BaseException as e:
    print("HELD", type(e).__name__, str(e)[:160])
