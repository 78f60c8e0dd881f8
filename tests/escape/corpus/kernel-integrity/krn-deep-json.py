# sbx-case krn-deep-json | category: kernel-integrity | expect: integrity | timeout: 20 | must: a 200k-deep JSON content does not crash the server parser
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
import hmac,hashlib
ses=K.session
c=b'{"data":'+b"["*200000+b"]"*200000+b"}"
h=ses.pack(ses.msg_header("display_data")); p=ses.pack({}); m=ses.pack({})
K.iopub_socket.send_multipart([b"display",b"<IDS|MSG>",ses.sign([h,p,m,c]),h,p,m,c])
print("FIRED sent")
