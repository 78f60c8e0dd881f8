# sbx-case krn-kill-control | category: kernel-integrity | expect: integrity | timeout: 20 | must: stopping the control thread / heartbeat: the server notices and kills in time
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
K.control_thread.io_loop.add_callback(K.control_thread.io_loop.stop)
import time
for _ in range(100):
    if not K.control_thread.io_loop.asyncio_loop.is_running(): break
    time.sleep(.1)
print("FIRED stopped" if not K.control_thread.io_loop.asyncio_loop.is_running() else "MISSED it runs")
