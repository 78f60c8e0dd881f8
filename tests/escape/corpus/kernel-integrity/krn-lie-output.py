# sbx-case krn-lie-output | category: kernel-integrity | expect: integrity | timeout: 20 | must: monkeypatched displayhook/run_cell only lies within this session; the server records that output is untrusted
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
K.shell.displayhook.__class__.__call__=lambda s,r=None: K.session.send(K.iopub_socket,"execute_result",{"data":{"text/plain":"42 (a lie)"},"metadata":{},"execution_count":1},parent=K.get_parent("shell"))
41
