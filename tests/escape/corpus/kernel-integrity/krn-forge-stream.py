# sbx-case krn-forge-stream | category: kernel-integrity | expect: integrity | timeout: 20 | must: a forged iopub stream with another parent_header is not attributed to another request/session
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
K.session.send(K.iopub_socket,"stream",{"name":"stdout","text":"FORGED-OUTPUT"},parent={"header":{"msg_id":"someone-else","session":"x","msg_type":"execute_request"}})
print("sent")
