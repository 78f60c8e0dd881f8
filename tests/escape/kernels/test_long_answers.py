"""A kernel that is asked for a long final answer and sends what it likes: no answer, and nobody else notices."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

import pytest

from tests.escape.kernels.kernel_server import CHANNELS, KernelServer

TAKES_OVER: Final = (
    CHANNELS
    + """
from rlm_kernel_mcp.in_kernel.ipython import control
from rlm_kernel_mcp.in_kernel.snapshots.writer import write_all

def send_text(user_ns, asked, passed):
    fd = passed()
    return attack(lambda data: write_all(fd, data), fd)

def said(chars):
    return {"status": "ok", "chars": chars}

answer = "x" * 5_000_000
true_send_text, control.send_text = control.send_text, send_text

def attack(send, fd):
"""
)
GROWTH_MB: Final = 96
"""A text of 256 MB may go through; a few pages of it are what is held."""
BODIES: Final = {
    "a text without end": "    while True: send(b'x' * 65_536)",
    "what is no text": "    send(b'\\xff' * 5_000_000); os.close(fd); return said(5_000_000)",
    "halves of halves": "    send(b'\\xed\\xa0' * 2_500_000); os.close(fd); return said(5_000_000)",
    "half a character": "    send(b'x' * 5_000_000 + b'\\xf0\\x9f'); os.close(fd); return said(5_000_001)",
    "continuations of nothing": "    while True: send(b'\\x80' * 65_536)",
    "fewer than it says": "    send(b'x' * 4_999_999); os.close(fd); return said(5_000_000)",
    "more than it says": "    send(b'x' * 5_000_001); os.close(fd); return said(5_000_000)",
    "nothing": "    os.close(fd); return said(5_000_000)",
    "no number": "    send(b'x' * 5_000_000); os.close(fd); return said(5e6)",
    "another shape": "    send(b'x' * 5_000_000); os.close(fd); return {'status': ['ok'], 'chars': {}}",
    "too large an answer": "    send(b'x' * 5_000_000); os.close(fd); return said('9' * 8_000_000)",
    "its end": "    send(b'x' * 2_000_000); os._exit(1)",
    "nulls, packed": "    import zlib; send(zlib.compress(bytes(60_000_000))); os.close(fd); return said(9)",
}
PATIENT: Final = {
    "an exception of its own": "    send(b'x' * 5_000_000); raise KeyError('no')",
    "wide characters without end": "    while True: send('\\U0001f600'.encode() * 16_384)",
    "silence": "    threading.Event().wait()",
    "silence in the middle": "    send(b'x' * 3_000_000); threading.Event().wait()",
    "a pipe that it keeps": "    send(b'x' * 5_000_000); return said(5_000_000)",
    "no answer": "    send(b'x' * 5_000_000); os.close(fd); threading.Event().wait()",
}
CASES: Final = [
    *(pytest.param(body, id=name) for name, body in BODIES.items()),
    *(pytest.param(body, id=name, marks=pytest.mark.slow) for name, body in PATIENT.items()),
]


@pytest.mark.parametrize("body", CASES)
def test_a_kernel_that_sends_what_it_likes_gives_no_answer(kernel_server: KernelServer, body: str) -> None:
    """In bounded memory and time; nothing of it is kept, and a short answer is taken then."""
    session = kernel_server.open()
    kernel_server.run(session, f"{TAKES_OVER}{body}")
    with kernel_server.bounded_memory(GROWTH_MB):
        error = kernel_server.client.error("rlm_finalize", session_id=session, final_var_name="answer")
        assert error["code"] == "KERNEL_DIED", error
        kernel_server.check_neighbour()
    with closing(sqlite3.connect(kernel_server.state_dir / "sessions.db")) as connection:
        pages = connection.execute("SELECT count(*) FROM answer_pages WHERE session_id = ?", (session,))
        assert pages.fetchone() == (0,)
    final = kernel_server.client.data("rlm_finalize", session_id=session, final_text="done")
    assert final["final_answer"] == "done"


def test_the_same_kernel_with_the_true_function_gives_its_answer(kernel_server: KernelServer) -> None:
    """The control: what is refused above is refused for what it sends."""
    session = kernel_server.open()
    kernel_server.run(session, f"{TAKES_OVER}    pass\ncontrol.send_text = true_send_text")
    final = kernel_server.client.data("rlm_finalize", session_id=session, final_var_name="answer")
    assert final["final_answer_chars"] == 5_000_000


def test_a_text_that_is_bound_anew_meanwhile_is_one_of_the_two(kernel_server: KernelServer) -> None:
    """A thread of the session swaps the name all the time; no answer is made of both."""
    session = kernel_server.open()
    code = """
texts = ["a" * 4_500_000, "b" * 4_600_000]
answer = texts[0]
def swap():
    global answer
    while True:
        answer = texts[answer is texts[0]]
threading.Thread(target=swap, daemon=True).start()
"""
    kernel_server.run(session, CHANNELS + code)
    final = kernel_server.client.data("rlm_finalize", session_id=session, final_var_name="answer")
    shown = final["final_answer"]
    assert (final["final_answer_chars"], shown[0], shown[-1]) in ((4_500_000, "a", "a"), (4_600_000, "b", "b"))
