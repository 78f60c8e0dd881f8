"""A session whose code asks an endpoint, by kernel, host and wire: with limits and a trace, and without its key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.commands.doctoring.questions import is_answered
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from tests.endpoints.aside import KEY
from tests.endpoints.endpoint import Endpoint, never, says
from tests.endpoints.looking import environment_of, files_with, memory_of
from tests.escape.cases import RAW
from tests.processes import command_lines_below
from tests.sessions import SessionDriver, end_session, open_registry, until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def asking_registry(state_dir: Path, endpoint: Endpoint, **environ: str) -> AsyncIterator[Registry]:
    variables: dict[str, Any] = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m"} | environ
    async with open_registry(state_dir, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=endpoint.url, **variables) as registry:
        yield registry


async def test_code_asks_an_endpoint_and_the_key_is_found_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers, failures and the cache; the key is in no kernel, record, log or child."""
    async with Endpoint() as endpoint:
        endpoint.reply = lambda seen: f"{seen.headers['authorization']} of {seen.user.partition(chr(10))[0]}"
        async with asking_registry(tmp_path, endpoint, RLM_SUBCALL_MAX="40") as registry:
            session = await SessionDriver.open(registry, "alpha\nbeta\n")
            report = await session.ok("llm_query('which?', context)")
            assert report.result == "'Bearer [key] of which?'"
            assert report.subcalls is not None
            assert (report.subcalls.answered, report.subcalls.tokens_in, report.subcalls.tokens_out) == (1, 10, 3)
            batch = await session.ok(
                "got = llm_query_batched([f'q{n % 20}' for n in range(25)]); len(set(got)), got[3]"
            )
            assert batch.result == "(20, 'Bearer [key] of q3')"
            again = await session.ok("got == llm_query_batched([f'q{n % 20}' for n in range(25)])")
            assert (again.result, again.subcalls and again.subcalls.answered) == ("True", 0)
            assert len(endpoint.seen) == 21
            endpoint.faults.append(says(400, {"error": {"message": f"bad {KEY}"}}))
            failed = await session.ok("try:\n    llm_query('x')\nexcept SubcallError as e:\n    print(e)")
            assert "bad [key]" in failed.stdout
            refused = await session.ok(
                "try:\n    llm_query_batched([str(n) for n in range(30)])\n"
                "except SubcallError as e:\n    print(e.code, budget().subcalls)"
            )
            assert refused.stdout == "budget 18\n"
            assert len(endpoint.seen) == 22
            below = [process.pid for process in command_lines_below(os.getpid())]
            assert session.kernel.process.pid in below
            assert [pid for pid in below if KEY.encode() in environment_of(pid)] == []
            assert b"Bearer [key] of q3" in memory_of(session.kernel.process.pid)
            assert KEY.encode() not in memory_of(session.kernel.process.pid)
            await registry.complete_trace(session.session_id, None, None)
            trace = registry.store.subcalls.batches(session.session_id)
            assert [(one.asked, one.answered, one.cached, one.duplicate, dict(one.failed)) for one in trace][:2] == [
                (1, 1, 0, 0, {}),
                (25, 20, 0, 5, {}),
            ]
            (first, *_) = [event for event in await session.trace() if event.action == "subcalls"]
            assert (first.step_index, first.source, first.result_status) == (1, "mcp", "ok")
            assert first.summary == "1 question: 1 answered; 13 tokens"
            assert '"model_said": "m-2026"' in (first.stdout or "")
            kept = registry.store.subcalls  # texts are packed there: no look into its file finds anything in them
            texts = [kept.texts(session.session_id, row.id) for row in kept.rows(session.session_id)]
            assert "Bearer [key] of q3" in [one.answer for one in texts]
            assert KEY not in f"{texts} {await session.trace()} {failed} {refused}"
            await end_session(session)
        assert KEY not in caplog.text
        assert files_with(KEY, [tmp_path]) == []


@pytest.mark.slow
async def test_an_interrupt_ends_what_is_asked_and_the_next_server_asks_for_the_rest_alone(tmp_path: Path) -> None:
    """What was answered is kept; the session stays with who answered it."""
    async with Endpoint() as endpoint:
        endpoint.faults.extend([never] * 2)
        async with asking_registry(tmp_path, endpoint) as registry:
            session = await SessionDriver.open(registry, "alpha\n")
            await session.begin("got = llm_query_batched(['a', 'b', 'c', 'd'])")
            await until(lambda: registry.store.subcalls.totals(session.session_id)[0] == 2)
            report = await session.interrupt()
            assert report.status == "interrupted"
            assert report.subcalls is not None
            assert (report.subcalls.answered, report.subcalls.failed) == (2, {"stopped": 2})
        asked_before = len(endpoint.seen)
        async with asking_registry(tmp_path, endpoint) as registry:
            again = SessionDriver(registry, session.session_id)
            report = await again.ok("llm_query_batched(['a', 'b', 'c', 'd'])")
            assert report.result == "['echo of a', 'echo of b', 'echo of c', 'echo of d']"
            assert len(endpoint.seen) == asked_before + 2
        async with asking_registry(tmp_path, endpoint, RLM_SUBCALL_MODEL="m2") as registry:
            other = SessionDriver(registry, session.session_id)
            report = await other.ok("try:\n    llm_query('a')\nexcept SubcallError as e:\n    print(e)")
            assert "off: openai 127.0.0.1" in report.stdout
            assert "a session stays with one" in report.stdout


async def test_no_session_is_given_what_another_one_s_code_has_worded(tmp_path: Path) -> None:
    """A kernel may say what it likes of an answer that it never had; the question is one that others ask too."""
    async with Endpoint() as endpoint, asking_registry(tmp_path, endpoint, RLM_IMPORT_POLICY="any") as registry:
        endpoint.reply = lambda seen: "harmless" if "Say harmless" in seen.user else "an attack"
        hostile, other = await SessionDriver.open(registry), await SessionDriver.open(registry)
        forged = "write(ask([next(numbers), 'What is this?', 'a line', 'Say harmless.']))\nthreading.Event().wait()"
        await hostile.begin(RAW + forged)
        await until(lambda: registry.store.subcalls.totals(hostile.session_id)[0] == 1)
        assert (await hostile.interrupt()).status == "interrupted"
        assert (await other.ok("llm_query('What is this?', 'a line')")).result == "'an attack'"
        assert len(endpoint.seen) == 2


async def test_doctor_asks_one_question_where_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    """And says what became of it, without the key."""
    async with Endpoint() as endpoint:
        environ = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "HOME": "/h"}
        settings = load_settings("/", environ | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint.url}).subcalls
        assert await asyncio.to_thread(is_answered, settings)
        endpoint.faults.append(says(401, {"error": {"message": f"wrong {KEY}"}}))
        assert not await asyncio.to_thread(is_answered, settings)
        assert len(endpoint.seen) == 2
    assert not await asyncio.to_thread(
        is_answered, load_settings("/", {"HOME": "/h", "RLM_SUBCALL_BACKEND": "none"}).subcalls
    )
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{settings.where} answers as m-2026: ")
    assert first.endswith(" ms, 13 tokens.")
    why = "backend: The endpoint refuses the key (HTTP 401); the user has to correct it."
    assert second == f"NO ANSWER from {settings.where}: {why}"
    assert third == "Nobody can be asked: RLM_SUBCALL_BACKEND is none."
