"""A kernel that owes the host a word and keeps it back, under the claim that a person's cell is running in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from tests.escape.kernels.kernel_server import FORGE, KernelServer
from tests.mcp.line_client import WAIT_S, data_of

DEAF: Final = FORGE + "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
HOLDS_BACK: Final = (
    DEAF
    + """
def hold(*_):
    'In place of the message with the values: work, and say nothing.'
    spin()

about = {"header": {"msg_id": "c1", "session": "a console", "msg_type": "execute_request", "username": "u"}}
say(kernel.iopub_socket, "execute_input", {"code": "1", "execution_count": 1}, parent=about)
kernel._send_snapshot = hold
"""
)


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelServer]:
    """A server whose sessions' values are kept."""
    made = KernelServer(tmp_path_factory.mktemp("keeping"), "any", {"interrupt_grace_ms": 200})
    try:
        yield made
    finally:
        made.close()


def test_every_call_is_answered_while_a_kernel_holds_its_values_back(keeping: KernelServer) -> None:
    """The next step comes at once, and a read, an interrupt and the final answer behind it."""
    session = keeping.open()
    assert keeping.run(session, HOLDS_BACK)["status"] == "ok"
    step = keeping.begin(session, "1", timeout_ms=300)
    read = keeping.client.begin("rlm_get_var", {"session_id": session, "var_name": "context"})
    interrupt = keeping.client.begin("rlm_interrupt", {"session_id": session})
    keeping.check_neighbour()
    assert data_of(keeping.client.result(step))["status"] in ("ok", "timeout", "interrupted")
    keeping.client.result(interrupt)
    keeping.client.result(read)
    final = keeping.client.data("rlm_finalize", session_id=session, final_text="done")
    assert final["final_answer"] == "done"


def stopped(kernel_server: KernelServer, session: str) -> bool:
    return str(kernel_server.row(session)["status"]) == "stopped"


@pytest.mark.slow
def test_it_is_no_cover_for_work_and_no_other_session_is_watched_less_for_it(keeping: KernelServer) -> None:
    """Both are stopped by their runtime, the one behind which the kernel holds back too."""
    first, second = keeping.open(max_runtime_ms=1_500), keeping.open(max_runtime_ms=1_500)
    kernels = [keeping.kernel(first), keeping.kernel(second)]
    assert keeping.run(first, HOLDS_BACK)["status"] == "ok"
    assert keeping.run(second, DEAF + "claim_reply(); claim_idle(); mute(); spin()")["status"] == "ok"
    for kernel, session in zip(kernels, (first, second), strict=True):
        kernel.wait(WAIT_S)
        keeping.until(partial(stopped, keeping, session))
        keeping.give_up(session)
    keeping.check_neighbour()
