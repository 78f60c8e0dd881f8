# sbx-case krn-forge-page | category: kernel-integrity | expect: integrity | timeout: 20 | must: forged comms, debugging, states, payloads and requests for a page reach no page of `lab`, and change nothing in a client of ours
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
CANARY = "http://127.0.0.1:@CANARY_PORT@"
STATE = {"_model_module": CANARY + "/model", "_model_name": "HTMLModel", "_view_module": CANARY + "/view"}
for kind, content in (
    ("comm_open", {"comm_id": "c", "target_name": "jupyter.widget", "target_module": CANARY + "/m", "data": {"state": STATE}}),
    ("comm_msg", {"comm_id": "c", "data": {"method": "update", "state": STATE}}),
    ("comm_close", {"comm_id": "c", "data": {}}),
    ("debug_event", {"type": "event", "event": "stopped", "body": {"source": CANARY}}),
    ("pyout", {"data": {"text/html": f'<img src="{CANARY}/pyout">'}, "metadata": {}, "execution_count": 1}),
    ("shutdown_reply", {"status": "ok", "restart": True}),
    ("status", {"execution_state": "restarting"}),
    ("status", {"execution_state": "dead"}),
    ("status", {"execution_state": ["idle"]}),
    ("input_request", {"prompt": CANARY, "password": True}),
):
    K.session.send(K.iopub_socket, kind, content, parent=K.get_parent("shell"), buffers=[b"x" * 100])
real = K.session.send
def send(stream, what, content=None, *rest, **more):
    if what == "execute_reply" and isinstance(content, dict):
        page = {"source": "page", "data": {"text/html": f'<img src="{CANARY}/page">', "text/plain": "the page"}, "start": 0}
        written = {"source": "set_next_input", "text": "import os", "replace": True}
        more_of = [{"source": "edit_magic", "filename": "/etc/passwd"}, {"source": "ask_exit", "keepkernel": False}]
        content = content | {"payload": [written, page, *more_of], "user_expressions": {"x": {"data": {"text/html": CANARY}}}}
    return real(stream, what, content, *rest, **more)
K.session.send = send
print("FIRED sent")
