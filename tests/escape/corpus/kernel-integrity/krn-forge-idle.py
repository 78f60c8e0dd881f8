# sbx-case krn-forge-idle | category: kernel-integrity | expect: integrity | timeout: 20 | must: an early forged status:idle ends the step without a reply, which is said, and what runs on behind it is charged
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
import time
K.session.send(K.iopub_socket,"status",{"execution_state":"idle"},parent=K.get_parent("shell"))
time.sleep(2)
print("FIRED after idle")
