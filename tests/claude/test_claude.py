"""The backend `claude` over a scripted program: how it is called, what it may offer, and its certain end."""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from rlm_kernel_mcp.session.answering.backends.messages import SYSTEM
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Unanswered
from rlm_kernel_mcp.session.answering.claude import claude_cli, run
from rlm_kernel_mcp.session.answering.claude.claude_cli import ClaudeBackend
from rlm_kernel_mcp.session.answering.claude.command import SWITCHES
from tests.claude.scripted import KEY, Scripted
from tests.parts import skip_for_lack_of
from tests.processes import command_lines_below, left_over
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio
WHAT: Final = Asked("what?", "some data", "")


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Its runs have their directories where nobody else's are."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(run, "END_S", WAIT_S)  # a keeper that gets no processor is not one that hangs
    (tmp_path / "bin").mkdir()
    return Scripted(tmp_path / "bin")


async def outcome(backend: ClaudeBackend, asked: Asked = WHAT) -> Answer | Unanswered:
    try:
        async with asyncio.timeout(WAIT_S):
            return await backend.answer(asked)
    except Unanswered as unanswered:
        return unanswered
    finally:
        await ended(backend)


async def ended(backend: ClaudeBackend) -> None:
    """Nothing is left of any run, neither a process nor a directory."""
    below = list(command_lines_below(os.getpid()))
    await backend.close()
    ours = [process for process in below if "keeper.py" in " ".join(_line(process))]
    assert await asyncio.to_thread(left_over, ours, WAIT_S) == []
    assert tempfile.tempdir is not None
    assert list(Path(tempfile.tempdir).iterdir()) == []


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def test_it_is_called_without_a_tool_and_with_nothing_of_the_user_s_but_what_it_needs(scripted: Scripted) -> None:
    """Arguments, environment, directory and descriptors; what is asked stands on its input alone."""
    backend = scripted.backend(RLM_SUBCALL_MODEL="haiku", RLM_SUBCALL_MAX_USD="0.5", HTTPS_PROXY="http://u:p@x")
    answer = await outcome(backend, Asked("/cost of @/etc/passwd?", "some data", "haiku", schema='{"type":"string"}'))
    assert answer == Answer("echo of /cost of @/etc/passwd?", 10, 3, 0.25, "scripted-1")
    (trial,), (seen,) = scripted.runs(trials=True), scripted.runs()
    assert seen["argv"] == trial["argv"] == [
        *("-p", "--tools", "", "--strict-mcp-config", "--setting-sources", "", "--disable-slash-commands"),
        *("--no-session-persistence", "--system-prompt", SYSTEM, "--output-format", "stream-json", "--verbose"),
        *("--max-budget-usd=0.500000", "--model=haiku"),
    ]  # fmt: skip
    of_user = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
        "HTTPS_PROXY": "http://u:p@x",
    }
    places = {"HOME": str(scripted.directory), "PATH": f"{scripted.directory}:/usr/bin:/bin"}
    private = str(Path(seen["cwd"]).parent)
    ours = {**SWITCHES, "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "8000", "TMPDIR": f"{private}/tmp"}
    assert seen["env"] == {**of_user, **places, **ours}
    assert SWITCHES["CLAUDE_CODE_DISABLE_ATTACHMENTS"] == "1"
    assert set(seen["env"].values()) & set(trial["env"].values()) == {*places.values(), *SWITCHES.values(), "8000"}
    assert (seen["mode"], seen["holds"], seen["descriptors"]) == ("0o700", [], {})
    assert seen["stdin"].startswith("The question:\n\n/cost of @/etc/passwd?\n\nAnswer with JSON alone")
    assert "some data" in seen["stdin"]
    assert KEY not in f"{trial} {backend!r} {backend.facts}"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"tools": ["Bash", "Read"]}, "since it offers Bash, Read (policy)"),
        ({"reads_files": True}, "since it reads the files that a question names (policy)"),
    ],
    ids=["tools", "files"],
)
async def test_one_that_could_do_more_than_answer_is_refused_before_it_is_told_anything(
    scripted: Scripted, plan: dict[str, Any], words: str
) -> None:
    """It is tried first, with a question of ours and without the key; it is for every question."""
    scripted.plan(**plan)
    said = await outcome(scripted.backend())
    assert isinstance(said, Unanswered)
    assert (said.code, said.is_for_all) == ("refused", True)
    assert words in said.message
    assert scripted.runs() == []
    (trial,) = scripted.runs(trials=True)
    assert "what?" not in trial["stdin"]


async def test_one_that_offers_a_tool_later_than_in_its_trial_is_refused_too_and_its_answer_is_taken_by_nobody(
    scripted: Scripted,
) -> None:
    """The line that says so comes before its answer."""
    scripted.plan(tools=["Bash"], honest_in_trial=True)
    said = await outcome(scripted.backend())
    assert isinstance(said, Unanswered)
    assert (said.code, said.is_for_all) == ("refused", True)
    assert len(scripted.runs()) == 1


async def test_it_is_tried_once_and_again_where_it_is_another_program(scripted: Scripted) -> None:
    """An update may offer what the version before it did not."""
    backend = scripted.backend()
    for _ in range(2):
        assert isinstance(await backend.answer(WHAT), Answer)
    assert len(scripted.runs(trials=True)) == 1
    program = scripted.directory / "claude"
    text = program.read_text()
    program.unlink()
    program.write_text(f"{text}\n# the next version\n")
    program.chmod(0o755)
    assert isinstance(await outcome(backend), Answer)
    assert len(scripted.runs(trials=True)) == 2


async def test_a_program_that_is_missing_or_fails_says_so(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    """Its own words are for the log: they may name files of the host."""
    said = await outcome(scripted.backend(PATH="/nowhere"))
    assert isinstance(said, Unanswered)
    assert said.message == (
        "There is no program `claude` in a directory of PATH. "
        "The user has to install it, or to set PATH in the server's environment."
    )
    scripted.plan(complains="error: unknown option '--tools'")
    said = await outcome(scripted.backend())
    assert isinstance(said, Unanswered)
    assert said.message == "claude ended with status 3 without an answer; the server's log has what it said."
    assert "claude said: error: unknown option '--tools'" in caplog.text


@pytest.mark.parametrize("plan", [{"hangs": True}, {"hangs": True, "leaves_children": True}], ids=["alone", "children"])
async def test_a_question_that_nobody_waits_for_leaves_no_process(scripted: Scripted, plan: dict[str, Any]) -> None:
    """Not even one that has left its group and its session; the deadline cancels in the same way."""
    backend = scripted.backend()
    await backend.answer(WHAT)
    scripted.plan(**plan)
    asking = asyncio.ensure_future(backend.answer(WHAT))
    records = scripted.directory / "records"
    await until((records / "hanging").exists)
    started = list(command_lines_below(os.getpid()))
    assert len([one for one in started if one.pid == int((records / "hanging").read_text())]) == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await ended(backend)
    named = {int(path.name.partition("-")[2]) for path in records.glob("child-*")}
    assert len(named) == (2 if "leaves_children" in plan else 0)
    ours = [one for one in started if one.pid in {*named, int((records / "hanging").read_text())}]
    assert len(ours) == 1 + len(named)
    assert await asyncio.to_thread(left_over, ours, WAIT_S) == []


async def test_one_that_does_not_end_its_output_is_ended_and_a_key_that_comes_back_is_blacked_out(
    scripted: Scripted,
) -> None:
    """Neither fills the server's memory nor the trace."""
    scripted.plan(floods=True)
    said = await outcome(scripted.backend())
    assert isinstance(said, Unanswered)
    assert (said.code, "more than 8,000,000 bytes" in said.message) == ("too_large", True)
    scripted.plan(result={"is_error": True, "result": f"bad {KEY}."})
    said = await outcome(scripted.backend())
    assert isinstance(said, Unanswered)
    assert said.message == "claude has failed: bad [key]."


async def test_an_answer_is_taken_though_the_program_stays_and_it_is_ended(scripted: Scripted) -> None:
    """Its result is all that is waited for."""
    scripted.plan(stays=True, leaves_children=True)
    assert isinstance(await outcome(scripted.backend()), Answer)


async def test_a_host_that_has_a_thousand_descriptors_open_can_ask_it_too(scripted: Scripted) -> None:
    """The lifeline has the same number in the keeper as in the host."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2_100:
        skip_for_lack_of("a limit of 2,100 descriptors", "ulimit -Hn 4096")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_100), hard))
    nothing = os.open(os.devnull, os.O_RDONLY)
    held = [nothing]
    try:
        while held[-1] < 1_100:
            held.append(os.dup(nothing))
        assert isinstance(await outcome(scripted.backend()), Answer)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_trial_that_comes_to_no_end_is_given_up_and_costs_nothing(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that waits for a login would hold every question up."""
    monkeypatch.setattr(claude_cli, "TRIAL_S", 0.01)
    scripted.plan(hangs_in_trial=True)
    said = await outcome(scripted.backend())
    assert isinstance(said, Unanswered)
    assert (said.code, said.is_for_all, said.is_paid) == ("backend", True, False)
    assert "did not send its question within" in said.message
