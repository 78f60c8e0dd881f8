"""Frames of every kind, valid and not, to a real server: each id is answered exactly once, and in the right shape.

`bin/soak frames --count 100000 --seed 0`. Is: seeded lines (valid ones mutated, truncated, spliced), half of them to a
server with which a version with batches is agreed, and an account of its own of what each line must be answered. Is
not: the server's reading of them (`server/transport/frames.py`), from which the account shares nothing but Python's
JSON. Every answer is looked at. At the end a call is answered, the end of the input ends the server, and nothing is
over.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.mcp.line_client import CLIENT, LineClient, data_of

BATCHING: Final = "2025-03-26"
VERSIONS: Final = (BATCHING, "2025-06-18")
WINDOW: Final = 200
"""Lines that are sent before what they ask must be answered."""
CODES: Final = frozenset(
    {
        *("INVALID_INPUT", "SESSION_NOT_FOUND", "SESSION_FINALIZED", "SESSION_BUSY", "VARIABLE_NOT_FOUND"),
        *("CONTEXT_NOT_FOUND", "CONTEXT_DENIED", "CONTEXT_TOO_LARGE", "KERNEL_START_FAILED", "KERNEL_DIED"),
        *("SANDBOX_UNAVAILABLE", "CITATION_MISMATCH"),
    }
)
"""Of the contract, less INTERNAL_ERROR, which is a defect of ours."""
RPC_CODES: Final = frozenset({-32700, -32600, -32601, -32602, -32022, -32021, -32020})
ODD: Final = (
    *(
        b"null",
        b"true",
        b"01",
        b"1.5",
        b"7.0",
        b"-0.0",
        b"1e400",
        b"-1e400",
        b"NaN",
        b"1" * 400,
        b"1" * 5_000,
        b"[]",
        b"{}",
    ),
    *(b'"\\ud800"', b'"\xff"', b'"\\u202e"', b'"\x00"', b'""', b'"' + b"x" * 5_000 + b'"', b"[" * 50 + b"]" * 50),
    *(b'"\\', b'{"id":', b'"method"', b'"result"', b'"error"', b'"2.0"', b'"initialize"', b'"notifications/cancelled"'),
)
_VALUE: Final = re.compile(rb'-?[0-9.]+|"[^"\\]*"|true|false|null')


class Lines:
    """The seeded lines. Each valid request has an id of its own."""

    def __init__(self, seed: int, session_id: str, *, initializes: bool) -> None:
        self._initializes = initializes
        self._random = random.Random(seed)
        self._session_id = session_id
        self._next_id = 0

    def next(self) -> bytes:
        """One line without its end."""
        chance = self._random
        line = self._valid()
        for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3))):
            change: Callable[[bytes], bytes] = chance.choice(
                (
                    self._flip,
                    self._insert,
                    self._delete,
                    self._repeat,
                    self._truncate,
                    self._splice,
                    self._swap,
                    self._swap,
                )
            )
            line = change(line) or b"{}"
        return line.replace(b"\n", b" ")

    def _valid(self) -> bytes:
        if self._random.random() < 0.1:
            items = [self._message() for _ in range(self._random.randint(0, 5))]
            return json.dumps(items).encode()
        return json.dumps(self._message(), ensure_ascii=self._random.random() < 0.5).encode()

    def _message(self) -> dict[str, Any]:
        self._next_id += 1
        request_id = self._random.choice((self._next_id, f"r{self._next_id}", self._next_id))
        method, params = self._random.choice(
            (
                ("ping", None),
                ("ping", {"_meta": {"progressToken": self._next_id}}),
                ("tools/list", {}),
                ("resources/list", {}),
                ("no/such", {"a": [1, {"b": None}]}),
                ("initialize", CLIENT) if self._initializes else ("ping", {}),  # it would agree on another version
                ("tools/call", self._call()),
                ("tools/call", self._call()),
                ("tools/call", {**self._call(), "_meta": {"progressToken": f"p{self._next_id}"}}),
                ("notifications/initialized", None),
                ("notifications/cancelled", {"requestId": self._next_id + self._random.randint(-3, 1), "reason": "é"}),
                ("notifications/progress", {"progressToken": 1, "progress": 0.5, "total": 2}),
            )
        )
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        unwanted = {"params"} if params is None else set()
        return {
            name: value
            for name, value in body.items()
            if name not in unwanted | ({"id"} if method.startswith("notifications/") else set())
        }

    def _call(self) -> dict[str, Any]:
        known = {"session_id": self._session_id}
        unknown = {"session_id": "s_nobody22"}
        name, arguments = self._random.choice(
            (
                ("rlm_list_sessions", {}),
                ("rlm_list_sessions", {"response_format": "markdown"}),
                ("rlm_get_var", {**known, "var_name": "x", "offset": 0, "limit": 100.0}),
                ("rlm_get_var", {**unknown, "var_name": "x"}),
                ("rlm_get_trace", {**known, "detail": "full", "max_output_chars": 500}),
                ("rlm_run_repl", {**unknown, "code": "x = 'é'", "timeout_ms": None}),
                ("rlm_run_repl", {**known, "code": "x", "timeout_ms": 1_000, "wait_ms": 500}),
                ("rlm_await_step", {**unknown, "step_index": 1}),
                ("rlm_interrupt", unknown),
                ("rlm_finalize", {**unknown, "final_text": "t", "max_output_chars": 10}),
                ("rlm_init_context", {"context_text": "a", "context_paths": ["b"], "max_steps": 1}),
                ("no_such_tool", {"a": 1}),
            )
        )
        return {"name": name, "arguments": arguments}

    def _at(self, line: bytes) -> int:
        return self._random.randrange(len(line) + 1)

    def _flip(self, line: bytes) -> bytes:
        at = self._at(line)
        return line[:at] + bytes([self._random.randrange(256)]) + line[at + 1 :]

    def _insert(self, line: bytes) -> bytes:
        at = self._at(line)
        return line[:at] + self._random.choice((*ODD, b"[", b"]", b"{", b"}", b",", b'"', b"\\", b":")) + line[at:]

    def _delete(self, line: bytes) -> bytes:
        first, last = sorted((self._at(line), self._at(line)))
        return line[:first] + line[min(last, first + 20) :]

    def _repeat(self, line: bytes) -> bytes:
        first, last = sorted((self._at(line), self._at(line)))
        return line[:last] + line[first:]

    def _truncate(self, line: bytes) -> bytes:
        return line[: self._at(line)]

    def _splice(self, line: bytes) -> bytes:
        other = self._valid()
        return line[: self._at(line)] + other[self._at(other) :]

    def _swap(self, line: bytes) -> bytes:
        """One value for another, so that the line stays JSON more often than not."""
        found = [*_VALUE.finditer(line)]
        if not found:
            return line
        value = self._random.choice(found)
        return line[: value.start()] + self._random.choice(ODD[:20]) + line[value.end() :]


class Account:
    """What is owed for the lines that were sent, and what came."""

    def __init__(self, *, batches: bool) -> None:
        self._batches = batches
        self.owed: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.unreadable = 0
        self.parse_errors = 0
        self.problems: list[str] = []
        self.answers = 0

    def sent(self, line: bytes) -> None:
        """Note what must be answered to a line."""
        try:
            body = json.loads(line.decode("utf-8", "surrogateescape"), strict=False, parse_int=_number)
        except (ValueError, RecursionError):
            self.unreadable += 1
            return
        if isinstance(body, list):
            self.owed.update(self._of_batch(body))
        else:
            self.owed.update(_key(request_id) for request_id in asked(body))
        for item in body if isinstance(body, list) else [body]:
            self._note_cancelled(item)

    def came(self, message: Any) -> None:
        """Take one line of the server, and what is wrong with it."""
        if isinstance(message, list):
            if not self._batches or not message:
                self.problems.append(f"a list where none is spoken: {message!r:.200}")
            for item in message:
                self._answer(item)
        elif "method" in message:
            if message["method"] != "notifications/progress":
                self.problems.append(f"the server asks: {message!r:.200}")
        else:
            self._answer(message)

    def left(self) -> list[str]:
        """Ids that are still owed an answer."""
        return [key for key, count in self.owed.items() if count > 0 and key not in self.cancelled]

    def close(self) -> list[str]:
        """Everything that was wrong, once nothing more comes."""
        over = [f"answered too often: {key}" for key, count in self.owed.items() if count < 0]
        if self.parse_errors > self.unreadable:
            over.append(f"{self.parse_errors} lines were called unreadable of {self.unreadable}")
        return [*self.problems, *over, *(f"never answered: {key}" for key in self.left())]

    def _answer(self, answer: dict[str, Any]) -> None:
        self.answers += 1
        if wrong := fault_of(answer):
            self.problems.append(f"{wrong}: {answer!r:.300}")
        if answer.get("error", {}).get("code") == -32700:
            self.parse_errors += 1
        else:
            self.owed[_key(answer.get("id"))] -= 1

    def _of_batch(self, items: list[Any]) -> Iterator[str]:
        if not items:
            yield _key(None)
            return
        found = [
            request_id for item in items for request_id in (_below(item) if isinstance(item, list) else asked(item))
        ]
        if self._batches:
            found += [None for item in items if not _is_message(item)]
            is_silent = all(request_id is None for request_id in found) and not any(map(_is_right, items))
            found = [] if is_silent else found
        else:
            found = [request_id for request_id in found if request_id is not None]
        yield from map(_key, found)

    def _note_cancelled(self, item: Any) -> None:
        if isinstance(item, dict) and item.get("method") == "notifications/cancelled" and "id" not in item:
            params = item.get("params")
            request_id = params.get("requestId") if isinstance(params, dict) else None
            if isinstance(request_id, str | int) and not isinstance(request_id, bool):
                self.cancelled |= {_key(request_id), _key(str(request_id))}
                if isinstance(request_id, str) and request_id.strip().lstrip("+-").isdecimal():
                    self.cancelled.add(_key(int(request_id)))


def asked(body: Any) -> list[object]:
    """The ids under which one JSON value that is not a list must be answered, None for null."""
    if not isinstance(body, dict) or "id" not in body or ("method" not in body and {"result", "error"} & body.keys()):
        return []
    request_id, method = body["id"], body.get("method")
    if isinstance(request_id, str):
        return [] if re.search("[\ud800-\udfff]", request_id) else [request_id]
    if request_id is None and isinstance(method, str) and method.startswith("notifications/"):
        return []
    if isinstance(request_id, int) and not isinstance(request_id, bool):
        return [request_id]
    if not isinstance(request_id, float) or not math.isfinite(request_id):
        return [None]
    return [int(request_id) if request_id == int(request_id) and abs(request_id) < 1 << 53 else request_id]


def fault_of(answer: Any) -> str | None:
    """What is wrong with the shape of an answer."""
    if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0" or "id" not in answer:
        return "no answer at all"
    if ("result" in answer) == ("error" in answer) or answer.keys() - {"jsonrpc", "id", "result", "error"}:
        return "neither a result nor an error, or both"
    if "error" in answer:
        error = answer["error"]
        is_right = not error.keys() - {"code", "message", "data"} and error.get("code") in RPC_CODES
        return None if is_right and error.get("message") else "an error of another shape"
    return _fault_of_result(answer["result"]) if "content" in answer["result"] else None


def _fault_of_result(result: dict[str, Any]) -> str | None:
    texts = [block["text"] for block in result["content"] if block["type"] == "text"]
    if len(texts) != 1:
        return "not one text block"
    code = texts[0].partition(":")[0]
    if "structuredContent" in result:
        body = json.loads(texts[0])
        if body != result["structuredContent"] or body["ok"] is bool(result.get("isError")):
            return "another envelope"
        code = body.get("error", {}).get("code")
    return "an error that the contract has not" if result.get("isError") and code not in CODES else None


def run(count: int, seed: int, version: str, directory: Path) -> tuple[list[str], dict[str, int]]:
    """Send `count` lines to one server; returns what was wrong, and numbers."""
    client = LineClient(directory)
    try:
        client.request("initialize", {**CLIENT, "protocolVersion": version})
        client.notify("notifications/initialized")
        session_id = client.open_session(max_steps=1_000_000, budget_limit=1_000_000_000)
        client.run(session_id, "x = 'value'")
        account, lines = Account(batches=version == BATCHING), Lines(seed, session_id, initializes=version != BATCHING)
        recent: deque[bytes] = deque(maxlen=WINDOW)
        for begin in range(0, count, WINDOW):
            window = [lines.next() for _ in range(min(WINDOW, count - begin))]
            recent.extend(window)
            _exchange(client, account, window, f"sync {begin}")
            if account.problems or account.left():
                break
        problems = [] if client.process.poll() is None else ["the server ended"]
        if not problems and not account.left():
            client.seen.clear()
            data_of(client.call("rlm_list_sessions"))
            problems += [f"the server ended with {status}"] if (status := client.end()) else []
            account.problems += [f"after all: {line!r:.200}" for line in client.stdout.read().splitlines()]
        problems += account.close()
        if problems:
            ids = {match.encode() for problem in problems for match in re.findall(r"\br?[0-9]+\b", problem)}
            problems += [f"before: {line!r:.1000}" for line in recent if any(found in line for found in ids)][-20:]
        return problems, {"answers": account.answers, "unreadable": account.unreadable}
    finally:
        client.kill()


def _exchange(client: LineClient, account: Account, window: list[bytes], sync: str) -> None:
    """Send the lines of a window and a ping; returns when all that is owed is answered, or nothing comes any more."""
    for line in window:
        account.sent(line)
    ping = {"jsonrpc": "2.0", "id": sync, "method": "ping"}
    data = b"\n".join([*window, json.dumps(ping).encode()])
    writing = threading.Thread(target=client.send_line, args=(data,))
    writing.start()
    client.seen.clear()
    is_synced = False
    try:
        while not is_synced or account.left():
            message: Any = client.receive()
            if isinstance(message, dict) and message.get("id") == sync:
                is_synced = True
            else:
                account.came(message)
    except (AssertionError, ValueError) as error:
        account.problems.append(f"{error!s:.2000}")
    writing.join(10)


def _below(items: list[Any]) -> list[object]:
    """The ids in a list in a batch; one null where there is none."""
    found: list[object] = []
    left = [items]
    while left:
        for item in left.pop():
            if isinstance(item, list):
                left.append(item)
            elif isinstance(item, dict) and "id" in item and not {"result", "error"} & item.keys():
                request_id = item["id"]
                found += (
                    [None]
                    if isinstance(request_id, str) and not asked({"id": request_id})
                    else asked({"id": request_id})
                )
    return found or [None]


def _is_message(item: Any) -> bool:
    """Whether an item of a batch is a message or a list, so that it is not a stray value of its own."""
    if isinstance(item, list):
        return True
    if not isinstance(item, dict):
        return False
    if {"result", "error"} & item.keys() and "method" not in item:
        return True
    return bool(asked(item)) or _is_right(item)


def _is_right(item: Any) -> bool:
    """Whether an item of a batch is a right message that the server takes in."""
    if not isinstance(item, dict) or item.get("jsonrpc") != "2.0":
        return False
    if "method" not in item:
        return bool({"result", "error"} & item.keys())
    is_right = isinstance(item["method"], str) and isinstance(item.get("params"), dict | None)
    return is_right and (asked(item) != [None] and not (isinstance(item.get("id"), str) and not asked(item)))


def _key(request_id: object) -> str:
    return json.dumps(request_id)


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= 1_000 else math.inf


def main(argv: Sequence[str]) -> int:
    """Exit status 0: nothing was wrong."""
    parser = argparse.ArgumentParser(prog="bin/soak frames", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="lines in all (default: 100,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the lines (default: 0)")
    options = parser.parse_args(argv)
    numbers: Counter[str] = Counter()
    wrong = 0
    for version in VERSIONS:
        with tempfile.TemporaryDirectory(prefix="soak-frames-") as directory:
            server = Path(directory) / "server"
            server.mkdir()
            problems, found = run(options.count // len(VERSIONS), options.seed, version, server)
        for problem in problems:
            print(f"{version}: {problem}", flush=True)
        wrong += len(problems)
        numbers.update(found)
        print(f"{version}: {options.count // len(VERSIONS):,} lines, {found['answers']:,} answers", flush=True)
    print(json.dumps({"soak": "frames", "lines": options.count, "seed": options.seed, **numbers, "wrong": wrong}))
    return int(wrong > 0)
