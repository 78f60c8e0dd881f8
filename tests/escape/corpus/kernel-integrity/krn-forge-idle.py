# sbx-case krn-forge-idle | category: kernel-integrity | expect: integrity | timeout: 20 | must: an early forged status:idle does not make the server believe the cell ended
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
import time
K.session.send(K.iopub_socket,"status",{"execution_state":"idle"},parent=K.get_parent("shell"))
time.sleep(2)
print("AFTER-IDLE")
