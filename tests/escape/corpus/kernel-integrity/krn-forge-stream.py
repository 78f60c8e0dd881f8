# sbx-case krn-forge-stream | category: kernel-integrity | expect: integrity | timeout: 20 | must: a forged iopub stream with another parent_header is not attributed to another request/session
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
K.session.send(K.iopub_socket,"stream",{"name":"stdout","text":"FORGED-OUTPUT"},parent={"header":{"msg_id":"someone-else","session":"x","msg_type":"execute_request"}})
print("FIRED sent")
