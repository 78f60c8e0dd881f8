"""Frames of every kind to a real server, in short (long: `bin/soak frames`); and that the account would see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soaks.frames import BATCHING, VERSIONS, Account, Lines, fault_of, run

PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
ANSWER = {"jsonrpc": "2.0", "id": 7, "result": {}}
REFUSAL = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_each_id_in_any_lines_is_answered_once_and_the_end_ends(tmp_path: Path, version: str) -> None:
    """A thousand seeded lines each; every answer is looked at."""
    directory = tmp_path / "server"
    directory.mkdir()
    problems, numbers = run(1_000, 1, version, directory)
    assert problems == []
    assert numbers["answers"] > 300


def test_the_lines_are_of_every_kind() -> None:
    """Right ones and wrong ones, some of them lists: the same for the same seed."""
    lines, again = [Lines(3, "s_x", initializes=True) for _ in range(2)]
    seen = [lines.next() for _ in range(500)]
    assert seen == [again.next() for _ in range(500)]
    account = Account(batches=True)
    for line in seen:
        account.sent(line)
    assert 100 < account.unreadable < 400
    assert sum(account.owed.values()) > 100
    assert any(line.startswith(b"[") for line in seen)


@pytest.mark.parametrize(
    ("lines", "answers", "wrong"),
    [
        ([PING], [], "never answered: 7"),
        ([PING], [ANSWER, ANSWER], "answered too often: 7"),
        ([PING], [{**ANSWER, "id": "7"}], "never answered: 7"),
        ([PING], [{**ANSWER, "result": {"content": []}}], "not one text block"),
        ([PING], [{**REFUSAL, "id": 7, "error": {"code": 0, "message": "a defect"}}], "an error of another shape"),
        ([PING], [{**ANSWER, **REFUSAL, "id": 7}], "neither a result nor an error, or both"),
        ([b"{}"], [REFUSAL], "answered too often: null"),
        ([b'{"id":1.5,"method":"ping"}'], [REFUSAL], "never answered: 1.5"),
        (
            [b"garbage"],
            [{**REFUSAL, "error": {"code": -32700, "message": "x"}}] * 2,
            "2 lines were called unreadable of 1",
        ),
        ([b"[" + PING + b"]"], [[ANSWER]], "a list where none is spoken"),
    ],
)
def test_the_account_sees_what_is_wrong(lines: list[bytes], answers: list[object], wrong: str) -> None:
    """An answer that is missing, given twice, under another id or in another shape."""
    account = Account(batches=False)
    for line in lines:
        account.sent(line)
    for answer in answers:
        account.came(answer)
    assert any(wrong in problem for problem in account.close())


def test_the_account_takes_what_is_right() -> None:
    """A batch in one list where there are batches; a request that was cancelled may go without."""
    account = Account(batches=True)
    account.sent(b"[" + PING + b',{"jsonrpc":"2.0","id":1.5,"method":"ping"},3]')
    account.sent(PING.replace(b"7", b"8"))
    account.sent(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"8"}}')
    account.came([ANSWER, {**REFUSAL, "id": 1.5}, REFUSAL])
    assert account.close() == []
    assert fault_of(ANSWER) is None
    assert BATCHING in VERSIONS
