# sbx-case krn-close-sockets | category: kernel-integrity | expect: integrity | timeout: 20 | must: closing the zmq sockets: the server notices a dead session in time
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
import zmq,gc
gc.unfreeze()  # what a kernel begins with is kept out of the collector's sight
n=0
for o in gc.get_objects():
    if isinstance(o,zmq.Socket):
        try: o.close(0); n+=1
        except Exception: pass
print("FIRED closed" if n>3 else "MISSED", n)
