# sbx-case krn-close-sockets | category: kernel-integrity | expect: integrity | timeout: 20 | must: closing the zmq sockets: the server notices a dead session in time
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
import zmq,gc
for o in gc.get_objects():
    if isinstance(o,zmq.Socket):
        try: o.close(0)
        except Exception: pass
print("closed")
