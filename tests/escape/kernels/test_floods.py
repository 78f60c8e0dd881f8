"""Floods on every channel that a real kernel has: the server's memory stays where it was, the neighbour is answered."""

from __future__ import annotations

from typing import Final

import pytest

from tests.escape.kernels.kernel_server import FORGE, KernelServer
from tests.mcp.line_client import data_of
from tests.parts import one_of_each

SEND: Final = (
    FORGE
    + """
import json
def frames(msg_type, content, about=parent):
    header = json.dumps({"msg_id": "m", "msg_type": msg_type, "session": "s", "username": "u", "version": "5.3"})
    about = json.dumps({key: str(value) for key, value in about["header"].items()})
    parts = [header.encode(), about.encode(), b"{}", json.dumps(content).encode()]
    return [b"<IDS|MSG>", kernel.session.sign(parts), *parts]

io_thread = kernel.iopub_thread
def flood(*messages, times=0):
    'From the thread whose socket it is, without end (or so often).'
    stop = threading.Event()
    def send():
        socket, count = io_thread.socket, 0
        while not times or count < times:
            for message in messages:
                socket.send_multipart([b"topic", *message])
            count += 1
        stop.set()
    io_thread.schedule(send)
    stop.wait()

big = "x" * 1_000_000
out = {"name": "stdout", "text": big}
err = {"name": "stderr", "text": big}
changed = {"data": {"text/plain": big}, "transient": {"display_id": "d"}}
comm = {"comm_id": "c", "data": {"d": big}}
"""
)
ENDLESS: Final = {
    "output": "flood(frames('stream', out), frames('stream', err))",
    "small output": "flood(frames('stream', {'name': 'stdout', 'text': 'x'}))",
    "comms": "flood(*(frames(kind, comm) for kind in ('comm_open', 'comm_msg', 'comm_close')))",
    "small comms": "flood(*(frames(kind, {'comm_id': 'c', 'data': {}}) for kind in ('comm_open', 'comm_msg')))",
    "changed displays": "flood(frames('update_display_data', changed))",
    "displays": "flood(frames('display_data', {'data': {'text/plain': big, 'image/png': 'x' * 1_000_000}}))",
    "texts for the record": (
        "flood(frames('display_data', {'data': {}, 'rlm': {'kept': {'text/html': big[:250_000]}}}))"
    ),
    "small texts for it": "flood(frames('display_data', {'data': {}, 'rlm': {'kept': {'text/html': 'x'}}}))",
    "cleared outputs": "flood(frames('clear_output', {'wait': False}), frames('stream', out))",
    "results": "flood(frames('execute_result', {'data': {'text/plain': big}, 'execution_count': 1}))",
    "errors": "flood(frames('error', {'ename': 'E', 'evalue': big, 'traceback': [big]}))",
    "busy and busy": "flood(frames('status', {'execution_state': 'busy'}))",
    "consoles": (
        "flood(*(frames('execute_input', {'code': big}, {'header': {'msg_id': f'c{n}', 'session': 'console'}})"
        " for n in range(50)))"
    ),
    "names": "flood(frames('status', {f'{n}': n for n in range(20_000)}))",
    "input requests": """
flood(frames("input_request", {"prompt": big, "password": False}), times=1)
while True:
    kernel.session.send(kernel.stdin_socket, "input_request", {"prompt": big, "password": False}, parent, ident=ident)
""",
    "answers": """
while True:
    kernel.shell_stream.socket.send_multipart([*ident, *frames("rlm_snapshot", {"status": "ok", "names": {"n": big}})])
""",
    "buffers": "flood([*frames('comm_msg', {'comm_id': 'c'}), *[b'x' * 500_000] * 7])",
}
"""Floods that do not end by themselves: the deadline, or the limit on what is sent unasked, ends them."""


KINDS: Final = {"output", "comms", "busy and busy", "consoles", "input requests", "answers", "buffers"}
"""One of each channel and way; the others are output in other messages, or in small ones."""


@pytest.mark.parametrize("code", one_of_each(ENDLESS, KINDS))
def test_a_flood_ends_and_takes_no_memory(kernel_server: KernelServer, code: str) -> None:
    """Less than 50 MB, the neighbour works meanwhile, and the session goes on with another kernel."""
    session = kernel_server.open()
    with kernel_server.bounded_memory():
        request = kernel_server.begin(session, SEND + code, timeout_ms=400)
        for _ in range(3):
            kernel_server.check_neighbour()
        data = data_of(kernel_server.client.result(request))
    assert data["status"] in ("timeout", "kernel_died")
    assert kernel_server.client.run(session, "context")["result"] == "'some text'"
    kernel_server.give_up(session)


HUGE: Final = {
    "one frame of 100 MB": "io_thread.socket.send_multipart([b'x' * 100_000_000])",
    "a message of 10 MB": "io_thread.socket.send_multipart([b'topic', *frames('stream', {'text': 'x' * 10_000_000})])",
    "100,000 frames": "io_thread.socket.send_multipart([b'x'] * 100_000)",
    "a reply of 10 MB": (
        "kernel.shell_stream.socket.send_multipart([*ident, *frames('execute_reply', {'x': 'x' * 10_000_000})])"
    ),
    "a comm of 10 MB": "forge('comm_msg', {'comm_id': 'c', 'data': {'d': 'x' * 10_000_000}})",
}


@pytest.mark.parametrize("code", one_of_each(HUGE, {"one frame of 100 MB", "100,000 frames", "a reply of 10 MB"}))
def test_a_huge_message_ends_its_kernel_and_takes_no_memory(kernel_server: KernelServer, code: str) -> None:
    """It is not read to its end."""
    session = kernel_server.open()
    with kernel_server.bounded_memory():
        data = kernel_server.run(session, f"{SEND}\n{code}\ntime.sleep(60)")
    assert data["status"] == "kernel_died"
    assert "message of more than" in data["lost"]["reason"]
    assert kernel_server.client.run(session, "context")["result"] == "'some text'"
    kernel_server.give_up(session)


HONEST: Final = {
    "payloads": "for n in range(1_000): get_ipython().set_next_input('x' * 10_000 + str(n), replace=False)",
    "a page of 10 MB": "from IPython.core.payloadpage import page\npage('x' * 10_000_000)",
    "help on 10 MB": "def f(): pass\nf.__doc__ = 'x' * 10_000_000\nget_ipython().run_line_magic('pinfo', 'f')",
    "10 MB displayed": "display('x' * 10_000_000)",
    "1,000 comms": "import comm\nfor n in range(1_000): comm.create_comm(target_name='t', data={'d': 'x' * 1_000})",
    "an update of 10 MB": "h = display('x', display_id=True)\nfor n in range(10): h.update('y' * 10_000_000)",
    "an input that nobody gives": "input('x' * 10_000_000)",
    "a warning of 10 MB": "import warnings\nwarnings.warn('x' * 10_000_000)",
    "an error of 10 MB": "raise ValueError('x' * 10_000_000)",
    "10,000 clearings": "from IPython.display import clear_output\nfor n in range(10_000): clear_output()",
}


OFTEN_MUCH: Final = {"payloads", "10 MB displayed", "1,000 comms", "an input that nobody gives", "an error of 10 MB"}
"""One of each kind."""


@pytest.mark.parametrize("code", one_of_each(HONEST, OFTEN_MUCH))
def test_much_by_honest_means_costs_no_kernel(kernel_server: KernelServer, code: str) -> None:
    """What a library does, or a look at the help of something large: cut or left out; the values are still there."""
    session = kernel_server.open()
    kernel_server.client.run(session, "mine = object()")
    with kernel_server.bounded_memory():
        data = kernel_server.run(session, code)
        assert data["status"] in ("ok", "error"), data
        assert kernel_server.client.run(session, "type(mine)")["result"] == "object"
    kernel_server.give_up(session)
