# sbx-case krn-lie-output | category: kernel-integrity | expect: integrity | timeout: 20 | must: monkeypatched displayhook/run_cell only lies within this session; the server records that output is untrusted
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
K.shell.displayhook.__class__.__call__=lambda s,r=None: K.session.send(K.iopub_socket,"execute_result",{"data":{"text/plain":"42 (a lie)"},"metadata":{},"execution_count":1},parent=K.get_parent("shell"))
print("FIRED patched")
41
