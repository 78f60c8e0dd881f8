# sbx-case krn-comm-flood | category: kernel-integrity | expect: integrity | timeout: 20 | must: comm_open / unknown message types are ignored
import gc
K=[o for o in gc.get_objects() if "IPythonKernel" in [t.__name__ for t in type(o).__mro__]][0]
for i in range(2000): K.session.send(K.iopub_socket,"comm_open",{"comm_id":str(i),"target_name":"jupyter.widget","data":{}},parent=K.get_parent("shell"))
print("sent")
