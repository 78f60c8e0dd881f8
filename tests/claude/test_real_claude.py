"""The real program `claude`, without a model: it answers by an endpoint of ours, and has neither tool nor file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Unanswered
from rlm_kernel_mcp.session.answering.claude import command
from rlm_kernel_mcp.session.answering.claude.claude_cli import ClaudeBackend
from rlm_kernel_mcp.settings import load_settings
from tests.claude.scripted import KEY
from tests.endpoints.endpoint import Endpoint, Fault, Seen, says
from tests.parts import claude_program
from tests.sessions import WAIT_S

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
SECRET: Final = "a line of a file that nobody may read"


def answers(text: str, stop: str = "end_turn") -> Fault:
    """As the Messages protocol streams an answer."""

    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        message = {"id": "m", "type": "message", "role": "assistant", "model": seen.body["model"], "content": []}
        used = {"input_tokens": 10, "output_tokens": 1}
        events: list[tuple[str, dict[str, Any]]] = [
            ("message_start", {"message": {**message, "stop_reason": None, "usage": used}}),
            ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
            ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}),
            ("content_block_stop", {"index": 0}),
            ("message_delta", {"delta": {"stop_reason": stop}, "usage": {"output_tokens": 3}}),
            ("message_stop", {}),
        ]
        body = "".join(f"event: {name}\ndata: {json.dumps({'type': name, **one})}\n\n" for name, one in events).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()

    return answer


def backend_of(tmp_path: Path, endpoint: Endpoint, **more: str) -> ClaudeBackend:
    environ = {"RLM_SUBCALL_BACKEND": "claude", "PATH": str(claude_program().parent), "HOME": str(tmp_path)}
    environ |= {"ANTHROPIC_BASE_URL": endpoint.url, "ANTHROPIC_API_KEY": KEY}
    return ClaudeBackend(load_settings("/", environ | more).subcalls)


async def outcome(backend: ClaudeBackend, prompt: str, text: str | None = None) -> Answer | Unanswered:
    try:
        async with asyncio.timeout(WAIT_S):
            return await backend.answer(Asked(prompt, text, ""))
    except Unanswered as unanswered:
        return unanswered


async def test_it_answers_without_a_tool_and_reads_no_file_that_a_question_names(tmp_path: Path) -> None:
    """One request a question, whose text is the question; what it costs is in its own words."""
    file = tmp_path / "secret.txt"
    file.write_text(SECRET)
    async with Endpoint() as endpoint:
        endpoint.faults.extend([answers("yes"), answers("no")])
        backend = backend_of(tmp_path, endpoint)
        said = await outcome(backend, f'/cost of @{file} and @"{file}"', f"see @{file}")
        assert isinstance(said, Answer)
        assert (said.text, said.tokens_in, said.tokens_out) == ("yes", 10, 3)
        assert said.usd is not None
        assert said.usd > 0
        assert (await outcome(backend, "the next one")) == Answer("no", 10, 3, said.usd, said.model_said)
        await backend.close()
        assert len(endpoint.seen) == 2
        for seen in endpoint.seen:
            assert seen.body["tools"] == []
            assert seen.body["max_tokens"] == 8_000
            assert SECRET not in json.dumps(seen.body)
            assert seen.headers["x-api-key"] == KEY
        assert f"see @{file}" in json.dumps(endpoint.seen[0].body)


async def test_its_trial_finds_that_it_reads_files_where_nothing_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.1.332 does so without any tool; and it finds tools, in the line that says so and in what it would send."""
    async with Endpoint() as endpoint:
        switches = {name: value for name, value in command.SWITCHES.items() if "ATTACHMENTS" not in name}
        with monkeypatch.context() as patch:
            patch.setattr(command, "SWITCHES", switches)
            said = await outcome(backend_of(tmp_path, endpoint), "which?")
        assert isinstance(said, Unanswered)
        assert "it reads the files that a question names (policy)" in said.message
        at = command.TOOLLESS.index("--tools") + 1
        with monkeypatch.context() as patch:
            patch.setattr(command, "TOOLLESS", (*command.TOOLLESS[:at], "Read", *command.TOOLLESS[at + 1 :]))
            said = await outcome(backend_of(tmp_path, endpoint), "which?")
        assert isinstance(said, Unanswered)
        assert "it offers Read (policy)" in said.message
        assert endpoint.seen == []


async def test_its_failures_have_their_codes(tmp_path: Path) -> None:
    """It retries none of them itself."""
    refused = {"type": "error", "error": {"type": "x", "message": "said no"}}
    for status, code, is_for_all in ((429, "rate_limited", False), (500, "backend", False), (401, "backend", True)):
        async with Endpoint() as endpoint:
            endpoint.faults.extend([says(status, refused)] * 10)
            said = await outcome(backend_of(tmp_path, endpoint), "which?")
            assert isinstance(said, Unanswered)
            assert (said.code, said.is_for_all) == (code, is_for_all)
            assert len(endpoint.seen) == 1
    async with Endpoint() as endpoint:
        said = await outcome(backend_of(tmp_path, endpoint, ANTHROPIC_API_KEY=""), "which?")
        assert isinstance(said, Unanswered)
        assert said.message.startswith("claude is not logged in")
        endpoint.faults.extend([answers("a part", "max_tokens")] * 10)
        said = await outcome(backend_of(tmp_path, endpoint), "which?")
        assert isinstance(said, Unanswered)
        assert said.code == "too_large"
        endpoint.faults.clear()
        endpoint.faults.extend([answers("", "refusal")] * 10)
        said = await outcome(backend_of(tmp_path, endpoint), "which?")
        assert isinstance(said, Unanswered)
        assert said.code == "refused"
