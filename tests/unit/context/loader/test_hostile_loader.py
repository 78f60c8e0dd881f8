"""A loader's words are checked, and a loader that lies, is silent or dies is one error and its own end."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context.loader import answers, client
from rlm_kernel_mcp.context.loader.answers import FileRead, FileRefused, ImpossibleAnswer
from rlm_kernel_mcp.context.loader.client import LoaderClient
from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.context_wire import Limits
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge

GOOD: Final = {
    "bytes": 10,
    "encoding": "utf-8",
    "bad_bytes": 0,
    "chars": 9,
    "lines": 2,
    "open": True,
    "layout": "latin-1",
    "looks": "",
}
KEYS: Final = [*GOOD, "files", "refused", "at", "made", "errno", "finished"]
LIMITS: Final[Limits] = {"text_bytes": 1_000, "hash": True, "unpacked_bytes": 1_000, "ratio": 200, "ratio_from": 100}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*GOOD, "files", "refused", "at", "made", "errno", "finished"]), inner, max_size=6
        )
    ),
    max_leaves=12,
)


class FakeProcess:
    """A loader of whom a thread answers."""

    def __init__(self) -> None:
        self.control, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.control.close()


@contextmanager
def answering(*said: bytes, then: Callable[[socket.socket], None] = lambda end: None) -> Iterator[FakeProcess]:
    """A loader that answers its first request by these datagrams."""
    process = FakeProcess()

    def answer() -> None:
        process.theirs.recv(1 << 16)
        for one in said:
            process.theirs.send(one)
        then(process.theirs)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield process
    finally:
        process.close()
        thread.join()
        process.theirs.close()


def files(row: dict[str, Any]) -> bytes:
    return json.dumps({"files": [row]}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": 2_000},
        {"bytes": -1},
        {"bytes": True},
        {"bytes": "10"},
        {"bytes": 10.0},
        {"encoding": "rot13"},
        {"encoding": ["utf-8"]},
        {"encoding": "latin-1"},
        {"bad_bytes": 11},
        {"chars": 41},
        {"lines": 10},
        {"layout": "ucs3"},
        {"chars": None},
        {"looks": "a gift"},
        {"looks": None},
        {"refused": "because"},
        {"refused": "binary"},
    ],
    ids=str,
)
def test_a_document_that_cannot_be_is_not_believed(changes: dict[str, Any]) -> None:
    """Each number for its type and size, each word among those that are known."""
    with pytest.raises(ImpossibleAnswer):
        answers.files(files(GOOD | changes), 1, 1_000)


def test_a_document_that_can_be_is() -> None:
    """So that the above is no test of a wall without a door."""
    assert answers.files(files(GOOD), 1, 1_000) == [FileRead(10, "utf-8", 0, 9, 2, True, "latin-1")]
    refused = {"refused": "binary", "at": 1, "made": 2, "errno": 0, "looks": "gzip"}
    assert answers.files(files(refused), 1, 1_000) == [FileRefused("binary", 1, 2, 0, "gzip")]


@pytest.mark.parametrize("size", [999, 1_999])
def test_documents_together_have_no_more_bytes_than_a_context_may(size: int) -> None:
    """One by one each of them may be."""
    row = {"bytes": 1_000, "encoding": "utf-8", "bad_bytes": 0, "chars": 9, "lines": 2, "layout": "ascii", "looks": ""}
    with pytest.raises(ImpossibleAnswer):
        answers.files(json.dumps({"files": [row, row]}).encode(), 2, size)


@given(JSON | st.dictionaries(st.just("files"), st.lists(JSON, max_size=2)))
def test_whatever_comes_is_an_answer_or_none(said: Any) -> None:
    """Nothing else is ever raised."""
    for take in (
        lambda data: answers.files(data, 1, 100),
        lambda data: answers.finished(data, [FileRead(10, "utf-8", 0, 9, 2, True, "latin-1")], hashed=True),
        answers.hashed,
        lambda data: answers.spooled(data, 9, "latin-1", 10),
        answers.begun,
    ):
        try:
            take(json.dumps(said).encode())
        except ImpossibleAnswer:
            continue


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b"\xff\xfe",
        b'{"begun": false}',
        b'{"progress": [1]}',
        b'{"progress": [-1, 0]}',
        b"NaN",
    ],
    ids=lambda said: repr(said[:20]),
)
def test_an_answer_that_makes_no_sense_ends_the_loader(said: bytes) -> None:
    """And the caller is told in one sentence, with what to do."""
    with answering(said) as process:
        with pytest.raises(ContextDenied, match=r"the process that reads it (gave an answer|ended)"):
            LoaderClient(process, lambda: None, 100).begin(LIMITS, None)
        assert process.closed


def test_a_loader_that_dies_is_reported() -> None:
    """At once."""
    with answering(then=socket.socket.close) as process:
        with pytest.raises(ContextDenied, match="the process that reads it ended"):
            LoaderClient(process, lambda: None, 100).begin(LIMITS, None)
        assert process.closed


def test_progress_that_is_none_does_not_keep_a_loader_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures over and over are silence."""
    monkeypatch.setattr(client, "SILENT_S", 0.2)
    stop = threading.Event()

    def chatter(end: socket.socket) -> None:
        while not stop.wait(0.01):
            try:
                end.send(b'{"progress": [5, 5]}')
            except OSError:
                return

    told: list[tuple[int, int]] = []
    with answering(then=chatter) as process:
        asked = LoaderClient(process, lambda: None, 100)
        asked.on_progress = lambda read, made: told.append((read, made))
        with pytest.raises(ContextDenied, match="took too long and was ended"):
            asked.begin(LIMITS, None)
        stop.set()
    assert told == [(5, 5)]


def test_what_a_loader_writes_counts_while_it_says_nothing(tmp_path: Path) -> None:
    """All loaders of a server together have one limit, whatever each of them says; nothing of it stays."""
    spool = Spool(tmp_path, 1_000)
    honest, file = spool.make(), spool.make()
    os.pwrite(honest.writer, bytes(600), 0)
    honest.grown()

    def write_alone(end: socket.socket) -> None:
        os.pwrite(file.writer, bytes(401), 0)

    with answering(then=write_alone) as process:
        asked = LoaderClient(process, lambda: None, 100)
        asked.writes.append(file)
        with pytest.raises(ContextTooLarge, match=r"needs 401 bytes on disk; RLM_SPOOL_GB allows 1,000 .* 600 are in"):
            asked.begin(LIMITS, file.writer)
    file.release()
    honest.seal(600)
    assert spool.used_bytes == 600
    honest.release()
    assert spool.used_bytes == 0


def test_a_loader_that_reports_as_fast_as_it_can_is_made_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the thread that listens to it takes nothing from the server's others."""
    clock, slept = [0.0], list[float]()
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=slept.append))
    process = FakeProcess()
    with process.control, process.theirs:
        asked = LoaderClient(process, lambda: None, 10**9)
        clock[0] = 1.0
        for read in range(10):
            process.theirs.send(b'{"progress": [%d, %d]}' % (read, read))
        process.theirs.send(b'{"begun": true}')
        asked.begin(LIMITS, None)
    assert slept == [client.TOLD_S] * 9


def test_each_request_goes_through_the_files_from_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that writes the text of a large file after it has read that is not silent, though its numbers are less.

    By a clock that goes on by 40 s with each word.
    """
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=partial(next, count(0, 40))))
    process = FakeProcess()
    with process.control, process.theirs:
        asked = LoaderClient(process, lambda: None, 10**9)
        for one in (b'{"progress": [100, 100]}', b'{"begun": true}'):
            process.theirs.send(one)
        asked.begin(LIMITS, None)
        for read in range(1, 9):
            process.theirs.send(b'{"progress": [%d, %d]}' % (read, read))
        process.theirs.send(b'{"hashed": "%s"}' % (b"0" * 64))
        assert asked.hash(process.theirs.fileno(), 8) == "0" * 64


def test_a_whole_that_is_not_the_sum_of_its_parts_is_not_believed() -> None:
    """The layout above all: a text of the wrong one would be a broken text."""
    read = [FileRead(10, "utf-8", 0, 9, 2, True, "latin-1"), FileRead(5, "utf-8", 0, 5, 0, True, "ascii")]
    whole = {"sha256": "0" * 64, "bytes": 15, "chars": 14, "layout": "latin-1", "mapped": False}
    assert answers.finished(json.dumps({"finished": whole}).encode(), read, hashed=True) == "0" * 64
    for change in ({"bytes": 16}, {"layout": "ascii"}, {"mapped": True}, {"chars": 15}, {"sha256": "0" * 63}):
        with pytest.raises(ImpossibleAnswer):
            answers.finished(json.dumps({"finished": whole | change}).encode(), read, hashed=True)


def test_a_hash_that_was_not_asked_for_is_none() -> None:
    """The bytes have not been looked at for it. One that comes later is one, or says that the file is shorter."""
    whole = {"sha256": "0" * 64, "bytes": 0, "chars": 0, "layout": "ascii", "mapped": True}
    assert answers.finished(json.dumps({"finished": whole}).encode(), [], hashed=False) is None
    assert answers.hashed(b'{"hashed": "' + b"a" * 64 + b'"}') == "a" * 64
    assert answers.hashed(b'{"hashed": ""}') is None
    for said in (b'{"hashed": "A"}', b'{"hashed": null}', b'{"hashed": 0}'):
        with pytest.raises(ImpossibleAnswer):
            answers.hashed(said)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"json": 1},
        {"json": {}},
        {"json": {"bytes": -1, "refused": ""}},
        {"json": {"bytes": 101, "refused": ""}},
        {"json": {"bytes": True, "refused": ""}},
        {"json": {"refused": "because", "words": "", "errno": 0}},
        {"json": {"refused": "syntax", "words": 1, "errno": 0}},
        {"json": {"refused": "no_room", "words": "", "errno": 1 << 20}},
    ],
)
def test_an_impossible_report_on_a_json_text_is_not_believed(said: object) -> None:
    """Its value has a size that its file can have, and a refusal is one of those that are known."""
    with pytest.raises(answers.ImpossibleAnswer):
        answers.value(json.dumps(said).encode(), 100)


def test_a_report_on_a_json_text_is_bounded() -> None:
    """They come from the text, which may be anybody's."""
    said = {"json": {"bytes": 0, "refused": "syntax", "words": "w" * 10_000, "errno": 0}}
    assert answers.value(json.dumps(said).encode(), 100) == answers.ValueRefused("syntax", "w" * 200, 0)
    assert answers.value(b'{"json": {"bytes": 100, "refused": ""}}', 100) == 100
