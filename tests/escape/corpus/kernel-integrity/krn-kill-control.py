# sbx-case krn-kill-control | category: kernel-integrity | expect: integrity | timeout: 20 | must: stopping the control thread / heartbeat: the server notices and kills in time
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
K.control_thread.io_loop.add_callback(K.control_thread.io_loop.stop)
import time
time.sleep(1)
print("stopped")
