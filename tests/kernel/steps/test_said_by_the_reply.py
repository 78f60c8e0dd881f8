"""What a step has on iopub comes with its reply, where that is a short result and nobody but the host listens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rlm_kernel_mcp.kernel.untrusted.messages import parse
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

SAID_CHARS = 40_000


@pytest.fixture
def heard(session: SessionDriver, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The types of the messages that came on iopub since it was last asked."""
    seen: list[str] = []
    iopub = session.kernel.client._iopub
    take = iopub.on_message

    def noting(frames: list[bytes]) -> None:
        seen.append(parse(frames).msg_type)
        take(frames)

    def asked() -> list[str]:
        types = seen.copy()
        seen.clear()
        return types

    monkeypatch.setattr(iopub, "on_message", noting)
    return asked


async def test_a_step_with_a_short_result_or_none_sends_nothing_on_iopub(
    session: SessionDriver, heard: Callable[[], list[str]]
) -> None:
    """A thread's turn and four messages fewer."""
    for code, result in (("20 + 22", "42"), ("x = 1", None), ("x", "1"), ("'a' * 39_000", repr("a" * 39_000))):
        assert (await session.ok(code)).result == result
        assert heard() == []


async def test_a_step_that_prints_shows_much_or_fails_is_heard_on_iopub(
    session: SessionDriver, heard: Callable[[], list[str]]
) -> None:
    """Each in its order, with `idle` as the last message."""
    report = await session.ok("print('said')\n42")
    assert (report.stdout, report.result) == ("said\n", "42")
    assert [*dict.fromkeys(heard())] == ["status", "execute_input", "stream", "execute_result"]
    report = await session.ok(f"'a' * {SAID_CHARS}")
    assert report.result is not None
    assert len(report.result) == SAID_CHARS + 2
    assert heard() == ["status", "execute_input", "execute_result", "status"]
    report = await session.run("1 / 0")
    assert report.error is not None
    assert report.error.ename == "ZeroDivisionError"
    assert heard() == ["status", "execute_input", "error", "status"]


async def test_a_step_whose_reply_says_all_may_bind_what_is_kept(session: SessionDriver) -> None:
    """The snapshot that follows it is the step's, and what the next one prints is not."""
    for number in range(3):
        assert (await session.ok(f"kept = list(range({number}, 50))\nkept[0]")).result == str(number)
        assert (await session.ok("print(kept[0])")).stdout == f"{number}\n"
