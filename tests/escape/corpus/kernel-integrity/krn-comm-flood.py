# sbx-case krn-comm-flood | category: kernel-integrity | expect: integrity | timeout: 20 | must: comm_open / unknown message types are ignored
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
for i in range(2000): K.session.send(K.iopub_socket,"comm_open",{"comm_id":str(i),"target_name":"jupyter.widget","data":{}},parent=K.get_parent("shell"))
print("FIRED sent")
