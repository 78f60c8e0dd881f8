"""What an endpoint's reply is made of, whatever the client's library is: here there is none."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.answering.backends.openai_api import OpenAIBackend
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Unanswered
from rlm_kernel_mcp.session.answering.backends.replies import SAID_CHARS
from rlm_kernel_mcp.variables.subcalls import load_subcall_settings

KEY: Final = "sk-canary/0123456789abcdef"
OK: Final = {"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "yes"}}]}
Reply = tuple[int, dict[str, str], bytes]


class Wire:
    """In place of `transport.py`: replies that a test gives, by the key with which they are asked for."""

    def __init__(self, reply: Callable[[str], Reply]) -> None:
        self._reply = reply
        self.closed = 0

    def client_of(self, settings: Any, key: Any) -> Any:
        del settings

        async def close() -> None:
            self.closed += 1

        return SimpleNamespace(key=key.value, close=close)

    async def sent(self, client: Any, path: str, body: Any) -> Reply:
        del path, body
        return self._reply(client.key)


def backend_over(monkeypatch: pytest.MonkeyPatch, wire: Wire, **environ: str) -> OpenAIBackend:
    monkeypatch.setitem(sys.modules, "rlm_kernel_mcp.session.answering.backends.transport", wire)
    values = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "RLM_SUBCALL_API": "chat"} | environ
    whole = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"} | ({} if environ else {"OPENAI_API_KEY": KEY})
    return OpenAIBackend(load_subcall_settings(values, whole, Path("/"), None))


def outcome(backend: OpenAIBackend) -> Answer | Unanswered:
    try:
        return asyncio.run(backend.answer(Asked("a", None, "m")))
    except Unanswered as unanswered:
        return unanswered


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("form", [KEY, KEY.replace("/", "\\/")], ids=["plain", "escaped"])
def test_not_even_a_part_of_the_key_comes_back_where_the_endpoint_s_words_are_cut(
    monkeypatch: pytest.MonkeyPatch, status: int, form: str
) -> None:
    """The end of what is shown lies in the middle of it."""
    body = json.dumps({"error": {"message": "x" * (SAID_CHARS - 12) + "KEY"}}).replace("KEY", form)
    said = outcome(backend_over(monkeypatch, Wire(lambda key: (status, {}, body.encode()))))
    assert isinstance(said, Unanswered)
    assert "xxx" in said.message
    assert KEY[:6] not in said.message


@pytest.mark.parametrize("first", [None, "sk-wrong-0123456789"], ids=["missing", "refused"])
def test_a_key_file_that_was_corrected_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: str | None
) -> None:
    """Without another server."""
    path, refused = tmp_path / "key", (401, dict[str, str](), b"")

    def write(key: str) -> None:
        path.write_text(key)
        path.chmod(0o600)

    if first is not None:
        write(first)
    wire = Wire(lambda key: (200, {}, json.dumps(OK).encode()) if key == KEY else refused)
    backend = backend_over(monkeypatch, wire, RLM_SUBCALL_KEY_FILE=str(path))

    async def play() -> None:
        with pytest.raises(Unanswered) as why:
            await backend.answer(Asked("a", None, "m"))
        assert why.value.is_for_all
        write(KEY)
        assert (await backend.answer(Asked("b", None, "m"))).text == "yes"
        assert wire.closed == (first is not None)
        await backend.close()
        assert wire.closed == 1 + (first is not None)

    asyncio.run(play())


def test_a_question_that_may_not_be_asked_ends_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP 403 may be about the text of one, or its model."""
    said = outcome(backend_over(monkeypatch, Wire(lambda key: (403, {}, b""))))
    assert isinstance(said, Unanswered)
    assert (said.code, said.is_for_all, said.message) == (
        "refused",
        False,
        "The endpoint refuses the question (HTTP 403).",
    )
