# sbx-case krn-forge-reply | category: kernel-integrity | expect: integrity | timeout: 20 | must: a forged execute_reply is at most this session lying about itself
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
K.session.send(K.iopub_socket,"execute_reply",{"status":"ok","execution_count":1},parent=K.get_parent("shell"))
class Fired(Exception): pass
raise Fired
