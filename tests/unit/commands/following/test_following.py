"""A session is followed by its record, and by what a host tells where one is there: nothing is missing or twice."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.commands.following.follow import Following
from rlm_kernel_mcp.front.front import PROOF_NAME, NoHost, Place
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.evidence.citations import Checked, Coverage
from rlm_kernel_mcp.session.reports import Guardrails, LossReport
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.database.apart import Apart
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow
from rlm_kernel_mcp.watching.live import host_feed
from rlm_kernel_mcp.watching.live.host_feed import HostFeed

NOTHING: Final = Checked((), Coverage(0)).record()
"""What an answer cites."""


class Session:
    """One in a store, with nothing but a record, and who drives it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.add_session(SessionRecord("s_1", "2026", "text", "idle"))
        self.lock = store.acquire("s_1")
        self.journal, self.account = Journal(store, "s_1"), Account(Guardrails())

    def begin(self, code: str = "code") -> int:
        return self.journal.step_begins(self.account.begin_step(), code, self.account)

    def end(self, row_id: int, stdout: str = "") -> None:
        self.journal.step_ended(row_id, Outcome("ok", 1, stdout=stdout), self.account)

    def finalize(self) -> None:
        self.journal.closed("finalized", final_answer="the answer")
        self.journal.final(self.account.counters.step_index, "completed", "text", "the answer", self.account, NOTHING)


class Script(HostFeed):
    """In place of a host, and of the second between two looks: what is done there, and what is told."""

    def __init__(self, *acts: Callable[[], list[dict[str, Any]] | None]) -> None:
        super().__init__({"RLM_HOST": "off"}, "s_1")
        self.acts = list(acts)
        self._has_ended = False

    @property
    def is_connected(self) -> bool:
        return not self._has_ended

    def events(self, within_s: float) -> list[dict[str, Any]]:  # noqa: ARG002 (no clock)
        assert not self._has_ended, "it goes on"
        self._has_ended = not self.acts
        return (self.acts.pop(0)() or []) if self.acts else []

    def close(self) -> None:
        """There is nothing to leave."""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    store = Store.open(tmp_path)
    made = Session(store)
    yield made
    if made.lock is not None:
        made.lock.release()
    store.close()


def follow(session: Session, *acts: Callable[[], list[dict[str, Any]] | None], as_json: bool = False) -> int:
    following = Following(session.store, "s_1", {"RLM_HOST": "off"}, as_json=as_json)
    following._feed = Script(*acts)
    return following.run()


def test_the_trace_so_far_comes_first_and_the_final_answer_last(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.end(session.begin("first"))

    def second() -> None:
        session.end(session.begin("second"))

    follow(session, second, session.finalize)
    out = capsys.readouterr().out
    assert out.index("first") < out.index("second") < out.index("finalize")
    assert out.count("run_repl") == 2


def test_of_what_there_is_a_person_is_shown_the_newest_and_then_all_that_comes(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        session.end(session.begin(f"code_{number}"))
    following = Following(session.store, "s_1", {"RLM_HOST": "off"}, as_json=False, newest=3)

    def more() -> None:
        session.end(session.begin("code_5"))

    following._feed = Script(more, session.finalize)
    following.run()
    out = capsys.readouterr().out
    assert out.startswith("[2 earlier events: `rlm-kernel-mcp trace s_1` has all of them]\n")
    assert [number for number in range(6) if f"code_{number}" in out] == [2, 3, 4, 5]
    assert out.count("earlier event") == 1


def test_a_step_that_runs_is_shown_by_its_row_where_nobody_tells(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    row_id = session.begin("long")
    follow(
        session,
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", ""),
        lambda: session.journal.step_goes_on(row_id, 2, "one\ntwo\n", ""),
        lambda: session.end(row_id, "one\ntwo\nthree\n"),
        session.finalize,
    )
    out = capsys.readouterr().out
    assert (
        out.startswith("step 1 begins:\n> long\n| one\n| two\n| three\n2026")
        or "> long\n| one\n| two\n| three\n" in out
    )
    assert out.count("one") == 1


def test_it_is_said_for_how_many_answers_a_step_waits(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tells of its output; and again whenever that changes."""
    row_id = session.begin("asks")
    begin = {"type": "begin", "id": str(row_id), "step": 1, "code": "asks", "code_chars": 4, "elapsed_ms": 0}
    follow(
        session,
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", "", 3),
        lambda: [begin],
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", "", 1),
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", "", 2),
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", ""),
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", "", 3),
        lambda: session.end(row_id, "one\n"),
        lambda: session.journal.step_goes_on(session.begin("computes"), 1, "two\n", ""),
        session.finalize,
    )
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "waits" in line] == [
        "step 1 waits for 3 answers",
        "step 1 waits for 1 answer",
        "step 1 waits for 2 answers",
        "step 1 waits for 3 answers",
    ]
    assert "step 2 has" not in out
    assert out.index("waits for 2") < out.index("step 1 has its answers") < out.index("run_repl")


def test_what_a_console_s_cell_asked_is_shown_though_its_row_names_no_step(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands behind the step before it; the whole trace has it there too."""
    session.end(session.begin("first"))
    session.end(session.begin("second"))

    def asks() -> None:
        of_cell = (0, "console", 0, 1)
        row = SubcallRow("s_1", session.store.mint(), "2026", *of_cell, fate="failed", error_code="refused")
        session.store.subcalls.book("s_1", [(row, b"")], lambda connection: None)

    follow(session, asks, lambda: session.end(session.begin("third")), session.finalize)
    out = capsys.readouterr().out
    assert out.index("second") < out.index("1 question: 1 refused") < out.index("third")
    assert out.count("1 question: 1 refused") == 1


def test_what_the_host_tells_and_what_the_record_has_is_shown_once(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    row_id = session.begin("long")
    begin = {"type": "begin", "id": str(row_id), "step": 1, "code": "long", "code_chars": 4, "elapsed_ms": 0}
    piece = {"type": "output", "step": 1, "stream": "stdout", "at": 0, "text": "one\n"}
    step = {"type": "step", "id": str(row_id)}

    def end() -> list[dict[str, Any]]:
        session.end(row_id, "one\n")
        older = {"type": "limit", "ts": "2026", "limit": "max_steps"}
        return [step, {"type": "unknown to us"}, older, {"type": "limit", "id": "7", "limit": "shown by the record"}]

    follow(
        session,
        lambda: [begin, piece],
        lambda: session.journal.step_goes_on(row_id, 1, "one\n", ""),
        end,
        session.finalize,
    )
    out = capsys.readouterr().out
    assert out.count("one") == out.count("> long") == out.count("run_repl") == 1
    assert out.index("run_repl") < out.index("limit reached: max_steps") < out.index("finalize")
    assert "shown by the record" not in out


def test_a_step_of_which_the_host_tells_after_its_end_was_shown_is_not_shown_again(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    """It begins and ends between two looks, while what tells of it is on its way."""
    row_id = session.begin("short")
    begin = {"type": "begin", "id": str(row_id), "step": 1, "code": "short", "code_chars": 5, "elapsed_ms": 0}
    piece = {"type": "output", "step": 1, "stream": "stdout", "at": 0, "text": "one\n"}
    step = {"type": "step", "id": str(row_id)}
    session.end(row_id, "one\n")
    follow(session, lambda: [begin, piece, step], session.finalize)
    out = capsys.readouterr().out
    assert out.count("one") == out.count("run_repl") == 1
    assert "step 1 begins" not in out


def test_a_store_that_cannot_be_read_for_a_moment_ends_no_follower(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have it to itself just then, as one does that finds it after a kill."""

    def locked(*_: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    def lock() -> None:
        patched.setattr(Database, "_open_disk", locked)
        patched.setattr(Apart, "_connected", locked)

    def unlock() -> None:
        patched.undo()
        session.finalize()

    with monkeypatch.context() as patched:
        follow(session, lock, unlock)
    assert "the answer" in capsys.readouterr().out


def test_after_events_were_left_out_the_record_says_what_became_of_them(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    first = session.begin("first")
    begin = {"type": "begin", "id": str(first), "step": 1, "code": "first", "code_chars": 5, "elapsed_ms": 0}

    def lost() -> list[dict[str, Any]]:
        session.end(first, "x\n")
        session.end(session.begin("second"), "y\n")
        session.begin("third")
        stray = {"type": "output", "step": 3, "stream": "stdout", "at": 0, "text": "z\n"}  # of a begin that was lost
        return [{"type": "dropped", "events": 7}, stray]

    follow(session, lambda: [begin], lost, lambda: session.end(session.journal._newest_row, "z\n"), session.finalize)
    out = capsys.readouterr().out
    assert "[7 events left out: they came faster than they were read]" in out
    assert out.count("run_repl") == 3
    assert out.count("| x\n") == out.count("y\n") == out.count("z\n") == 1


WATCHING: Final = {"type": "watching", "session": "s_1", "here": True}
DROPPED: Final = {"type": "dropped", "events": 7}
LEFT_OUT: Final = "[7 events left out: they came faster than they were read]"


@pytest.mark.parametrize(
    "behind", [[], [WATCHING], [WATCHING, {"type": "refused", "code": "c", "message": "m", "ts": ""}]]
)
def test_what_was_told_before_the_final_answer_is_shown_though_the_record_has_that_by_now(
    session: Session, capsys: pytest.CaptureFixture[str], behind: list[dict[str, Any]]
) -> None:
    """One that was stopped finds the answer in the record while the host still has what came before; then it ends."""

    def final() -> list[dict[str, Any]]:
        return [{"type": "final", "id": "1"}]

    def late() -> list[dict[str, Any]]:
        session.finalize()
        return behind

    follow(session, late, lambda: [DROPPED], final, pytest.fail)
    out = capsys.readouterr().out
    assert LEFT_OUT in out
    assert out.count("finalize") == 1


@pytest.mark.parametrize("last", [lambda: None, lambda: [{**WATCHING, "here": False}]], ids=["is-silent", "has-it-not"])
def test_a_host_that_has_no_more_to_tell_keeps_no_follower(
    session: Session, capsys: pytest.CaptureFixture[str], last: Callable[[], list[dict[str, Any]] | None]
) -> None:
    """The answer came from another server: the host here never tells of it."""
    follow(session, session.finalize, last, pytest.fail)
    assert capsys.readouterr().out.count("finalize") == 1


def test_a_session_that_is_over_already_is_shown_without_a_word_of_the_host(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody will tell of its final answer once more."""
    session.finalize()
    following = Following(session.store, "s_1", {"RLM_HOST": "off"}, as_json=False)
    feed = following._feed = Script(pytest.fail)
    feed._has_ended = True
    monkeypatch.setattr(feed, "connect", lambda: setattr(feed, "_has_ended", False))
    following.run()
    assert "the answer" in capsys.readouterr().out


def test_a_step_whose_server_was_killed_is_shown_once_and_is_not_waited_for(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.begin("cut off")
    assert session.lock is not None
    session.lock.release()
    session.lock = None
    follow(session, session.finalize)
    assert capsys.readouterr().out.count("run_repl (mcp): unknown") == 1


def test_what_a_step_asked_is_shown_once_it_can_ask_no_more(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then the event of its questions grows."""
    step = session.begin("ask")

    def ask() -> None:
        row = SubcallRow("s_1", session.store.mint(), "2026-11-29T12:00:00.000+00:00", 1, "mcp", 0, 1, tokens_in=10)
        session.store.subcalls.book("s_1", [(row, b"")], lambda connection: None)

    follow(session, ask, ask, lambda: session.end(step), session.finalize)
    out = capsys.readouterr().out
    assert out.count("subcalls (mcp)") == 1
    assert out.index("run_repl") < out.index("finalize")


def test_names_that_are_lost_are_shown_with_their_restore(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    def restore() -> list[dict[str, Any]]:
        loss = LossReport("killed", (("m\x1b", "cannot pickle"),), ("x",), more_lost=2)
        session.journal.restored(0, "killed; restored 1 names, lost 1", session.account, loss)
        lost = [{"name": "m\x1b", "why": "cannot pickle"}]
        return [{"type": "restore", "id": "1", "lost": lost, "restored": ["x"], "more_lost": 2, "more_restored": 0}]

    follow(session, restore, session.finalize)
    out = capsys.readouterr().out
    gone = "- gone: `m\\x1b` (`cannot pickle`)\n- gone: 2 more names\n- restored: `x`\n"
    assert out.index("restored 1 names") < out.index(gone)
    assert out.count("gone: `m") == 1


def test_as_json_there_is_one_line_for_each_event_that_is_over(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    row_id = session.begin("long")
    begin = {"type": "begin", "id": str(row_id), "step": 1, "code": "long", "code_chars": 4, "elapsed_ms": 0}
    follow(session, lambda: [begin], lambda: session.end(row_id, "one\n"), session.finalize, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["action"], line["stdout"]) for line in lines] == [("run_repl", "one\n"), ("finalize", "")]


def test_a_session_that_has_its_answer_is_shown_and_that_is_all(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.end(session.begin("first"))
    session.finalize()
    follow(session)
    assert "the answer" in capsys.readouterr().out


def test_a_session_that_is_removed_is_followed_no_more(session: Session) -> None:
    """To a script it is over without an answer."""
    assert follow(session, lambda: session.store.remove_session("s_1")) == 4


def test_by_what_it_is_followed_is_said_where_that_changes(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    def watching(here: bool) -> Callable[[], list[dict[str, Any]]]:
        return lambda: [{"type": "watching", "session": "s_1", "here": here}]

    follow(session, watching(False), watching(False), watching(True), session.finalize)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "rlm-kernel-mcp: following; the host that is there does not have it: the record is looked at once a second",
        "rlm-kernel-mcp: following; a host has it: what a step prints is shown as it comes",
    ]


FULL = "the host has 64 connections of this kind"


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        pytest.param(NoHost(FULL), FULL, id="it has no room, and others may leave"),
        pytest.param(TimeoutError("timed out"), host_feed.NO_ANSWER, id="it does not answer in time"),
    ],
)
def test_a_host_that_refuses_for_now_is_asked_again_later(
    refused: NoHost | TimeoutError, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came as the 65th was told nothing live for as long as it stayed; and a host may just begin."""
    ours, theirs = socket.socketpair()
    answers: list[NoHost | TimeoutError | socket.socket] = [refused, ours]

    def admitted(_place: Place, _session_id: str) -> socket.socket:
        answer = answers.pop(0)
        if not isinstance(answer, socket.socket):
            raise answer
        return answer

    monkeypatch.setattr(host_feed, "_admitted", admitted)
    feed = HostFeed({}, "s_1")
    with theirs:
        feed.connect()
        feed.connect()
        assert (feed.is_connected, feed.refused) == (False, why)
        feed._again_at_s = 0
        feed.connect()
        assert (feed.is_connected, feed.refused) == (True, "")
        feed.close()


def test_a_place_that_is_not_this_user_s_alone_is_not_asked_again_at_once(tmp_path: Path) -> None:
    (tmp_path / PROOF_NAME).touch()
    tmp_path.chmod(0o755)
    feed = HostFeed({"RLM_HOST_DIR": str(tmp_path), "RLM_STATE_DIR": str(tmp_path)}, "s_1")
    feed.connect()
    assert "is not a directory of this user alone" in feed.refused
    tmp_path.chmod(0o700)
    feed.connect()
    assert not feed.is_connected


def test_where_no_host_is_it_is_looked_for_again(short_dir: Path, tmp_path: Path) -> None:
    """A socket that lies there is a dead host's."""
    short_dir.chmod(0o700)
    environ = {"RLM_HOST_DIR": str(short_dir), "RLM_STATE_DIR": str(tmp_path)}
    (tmp_path / PROOF_NAME).touch()
    feed = HostFeed(environ, "s_1")
    feed.connect()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(Place(environ).socket)
    feed.connect()
    assert (feed.is_connected, feed.refused) == (False, "")


def test_what_is_no_host_of_ours_is_told_nothing(short_dir: Path, tmp_path: Path) -> None:
    short_dir.chmod(0o700)
    environ = {"RLM_HOST_DIR": str(short_dir), "RLM_STATE_DIR": str(tmp_path)}
    (tmp_path / PROOF_NAME).touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.bind(Place(environ).socket)
        stranger.listen()
        heard: list[bytes] = []

        def answer() -> None:
            peer, _ = stranger.accept()
            with peer:
                heard.append(peer.recv(4096))
                peer.send(b"rlm-host 1\0no\0not you")

        answering = threading.Thread(target=answer)
        answering.start()
        feed = HostFeed(environ, "s_1")
        feed.connect()
        answering.join()
    assert feed.refused == "not you"
    assert b"s_1" not in heard[0]


@pytest.mark.parametrize(
    ("reason", "status"), [("completed", 0), ("max_steps", 3), ("timeout", 3), ("budget_exceeded", 3), ("ended", 4)]
)
def test_the_exit_status_says_how_the_session_is_over(session: Session, reason: str, status: int) -> None:
    """For scripts: whether there is an answer, and whether a limit had stopped the session before."""
    assert follow(session, lambda: session.journal.closed("finalized", finish_reason=reason)) == status
