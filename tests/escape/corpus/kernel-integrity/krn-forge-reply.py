# sbx-case krn-forge-reply | category: kernel-integrity | expect: integrity | timeout: 20 | must: a forged execute_reply is at most this session lying about itself
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
K.session.send(K.iopub_socket,"execute_reply",{"status":"ok","execution_count":1},parent=K.get_parent("shell"))
1/0
