"""The requests that belong to names on offer are answered like our other ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.ipython import control
from rlm_kernel_mcp.in_kernel.ipython.control import ControlRequests
from rlm_kernel_mcp.in_kernel.namespace import offered
from rlm_kernel_mcp.in_kernel.notebook.replay import Replay
from rlm_kernel_mcp.in_kernel.snapshots.taking import or_failure

pytestmark = pytest.mark.anyio


class Replies:
    """In place of a kernel's Jupyter session: what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, Any]]] = []

    def send(self, stream: Any, msg_type: str, content: Mapping[str, Any], parent: Any, ident: Any) -> None:
        del stream, parent, ident
        self.sent.append((msg_type, content))


def half_of(content: Mapping[str, Any], take_descriptor: Callable[[], int]) -> Mapping[str, Any]:
    del take_descriptor
    if content["number"] % 2:
        raise ValueError("it is odd")
    return {"half": content["number"] // 2}


async def test_a_request_that_belongs_to_a_name_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of `offered.py` is all that it takes; what cannot be done is a `Failure`."""
    row = offered.Offer("halves numbers", lambda loaded: loaded, requests={"rlm_half_request": half_of})
    monkeypatch.setattr(offered, "OFFERED", {**offered.OFFERED, "half": row})
    kernel = ControlRequests()
    kernel.control_handlers, kernel.session, kernel.replay = {}, Replies(), Replay()
    kernel.answer_offered()
    answer = kernel.control_handlers["rlm_half_request"]
    for number in (8, 7):
        await answer(None, None, {"header": {"msg_type": "rlm_half_request"}, "content": {"number": number}})
    assert kernel.session.sent == [
        ("rlm_half_reply", {"status": "ok", "half": 4}),
        ("rlm_half_reply", {"status": "error", "ename": "ValueError", "evalue": "it is odd"}),
    ]


def test_a_context_that_does_not_fit_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the error's own traceback holds of the mapped file is no error in its place."""

    def short(documents: Any, raw: memoryview) -> Any:
        part = raw[1:3]
        raise MemoryError(len(part))

    monkeypatch.setattr(control, "decode", short)
    descriptor = os.memfd_create("context")
    os.write(descriptor, b"text")
    request = {"source": "descriptor", "name": "context"}
    table = {"names": ["a"], "bytes": [4], "codecs": [["utf-8", "strict", 1]]}
    parent = {"content": request, "buffers": [json.dumps(table).encode()]}
    reply = or_failure(lambda: ControlRequests()._load_context(parent, lambda: descriptor))
    assert reply == {"status": "error", "ename": "MemoryError", "evalue": "2"}
