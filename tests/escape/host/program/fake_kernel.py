"""A process that is not a kernel: it speaks the kernel's wire by hand, and answers a step as its behaviour says.

`python fake_kernel.py SOCKET_STEM BEHAVIOUR`: binds `SOCKET_STEM-1` (shell), `-2` (iopub) and `-5` (control), prints a
line when they are there, and lives until it is killed. Standard library alone: nothing of the host's helps it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\1" + bytes(31)
MORE, LONG, COMMAND = 1, 2, 4
READY = {"ROUTER": b"\x05READY\x0bSocket-Type\0\0\0\x06ROUTER", "XPUB": b"\x05READY\x0bSocket-Type\0\0\0\x04XPUB"}
FOREVER = range(1 << 40)


def frame(body: bytes, flags: int = 0) -> bytes:
    return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body


def multipart(*parts: bytes) -> bytes:
    return b"".join(frame(part, MORE) for part in parts[:-1]) + frame(parts[-1])


class Parent:
    """The request that is answered."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.header = header

    def message(self, msg_type: str, content: Any, *, buffers: tuple[bytes, ...] = (), **changes: Any) -> bytes:
        parent = {**self.header, **changes}
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        head = json.dumps({"msg_id": "f", "msg_type": msg_type, "session": "f"}).encode()
        return multipart(
            b"topic", b"<IDS|MSG>", b"no signature", head, json.dumps(parent).encode(), b"{}", raw, *buffers
        )

    def stream(self, text: str, name: str = "stdout") -> bytes:
        return self.message("stream", {"name": name, "text": text})

    def status(self, state: Any) -> bytes:
        return self.message("status", {"execution_state": state})

    def reply(self, **content: Any) -> bytes:
        return self.message("execute_reply", {"status": "ok", "execution_count": 1, **content})


class Wire:
    """Our ends of the three connections."""

    def __init__(self, stem: str) -> None:
        self.listeners = {
            name: self._listen(f"{stem}-{port}") for name, port in (("shell", 1), ("iopub", 2), ("control", 5))
        }
        self.ends: dict[str, socket.socket] = {}

    @staticmethod
    def _listen(path: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        return listener

    def accept(self, name: str, greeting: bytes = GREETING) -> None:
        end, _ = self.listeners[name].accept()
        body = READY["XPUB" if name == "iopub" else "ROUTER"]
        end.sendall(greeting + bytes([COMMAND, len(body)]) + body)
        self.ends[name] = end

    def send(self, name: str, data: bytes) -> None:
        self.ends[name].sendall(data)

    def requests(self, name: str) -> Iterator[tuple[str, dict[str, Any], Parent]]:
        """(msg_type, content, parent) of each request on a channel."""
        file = self.ends[name].makefile("rb")
        file.read(len(GREETING))
        parts: list[bytes] = []
        while head := file.read(2):
            size = head[1]
            if head[0] & LONG:
                size = int.from_bytes(bytes([head[1]]) + file.read(7), "big")
            body = file.read(size)
            if head[0] & COMMAND:
                continue
            parts.append(body)
            if not head[0] & MORE:
                at = parts.index(b"<IDS|MSG>") + 2
                header = json.loads(parts[at])
                yield header["msg_type"], json.loads(parts[at + 3]), Parent(header)
                parts = []


Behaviour = Callable[[Wire, Parent], None]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__] = function
    return function


def ends(wire: Wire, parent: Parent) -> None:
    wire.send("shell", parent.reply())
    wire.send("iopub", parent.status("idle"))


def sends(channel: str, *parts: bytes) -> Behaviour:
    """A behaviour that sends these bytes and ends the step as it should."""

    def send(wire: Wire, parent: Parent) -> None:
        for part in parts:
            wire.send(channel, part)
        ends(wire, parent)

    return send


@behaviour
def honest(wire: Wire, parent: Parent) -> None:
    wire.send("iopub", parent.status("busy") + parent.stream("said\n"))
    ends(wire, parent)


@behaviour
def foreign_parents(wire: Wire, parent: Parent) -> None:
    for msg_id, session in (("another", "other"), (None, "other"), (["x"], "other"), ("x", 5), ("", ""), ("x", None)):
        changes: dict[str, Any] = {"msg_id": msg_id, "session": session}
        wire.send("iopub", parent.message("stream", {"name": "stdout", "text": "foreign"}, **changes))
        wire.send("iopub", parent.message("status", {"execution_state": "idle"}, **changes))
        wire.send("shell", parent.message("execute_reply", {"status": "error", "ename": "Foreign"}, **changes))
    honest(wire, parent)


@behaviour
def twice(wire: Wire, parent: Parent) -> None:
    honest(wire, parent)
    wire.send(
        "shell", parent.message("execute_reply", {"status": "error", "ename": "Second", "evalue": "", "traceback": []})
    )
    wire.send("iopub", parent.stream("late") + parent.status("idle"))


@behaviour
def reply_without_idle(wire: Wire, parent: Parent) -> None:
    wire.send("iopub", parent.stream("said\n"))
    wire.send("shell", parent.reply())


@behaviour
def idle_without_reply(wire: Wire, parent: Parent) -> None:
    wire.send("iopub", parent.stream("said\n") + parent.status("idle"))


@behaviour
def silence(wire: Wire, parent: Parent) -> None:
    return


@behaviour
def reply_on_the_wrong_channels(wire: Wire, parent: Parent) -> None:
    wire.send("iopub", parent.reply())
    wire.send("shell", parent.status("idle") + parent.stream("wrong"))
    wire.send("control", parent.status("idle") + parent.stream("wrong"))


@behaviour
def wrong_types(wire: Wire, parent: Parent) -> None:
    odd: tuple[Any, ...] = (None, True, -1, 1e308, "text", [], {}, [[]], {"": {}}, "\ud800", 1 << 70)
    for value in odd:
        for msg_type, keys in (
            ("stream", ("name", "text")),
            ("execute_result", ("data", "metadata", "execution_count")),
            ("display_data", ("data", "transient")),
            ("error", ("ename", "evalue", "traceback")),
            ("status", ("execution_state",)),
            ("execute_input", ("code", "execution_count")),
            ("comm_open", ("comm_id", "data")),
            ("input_request", ("prompt", "password")),
            ("clear_output", ("wait",)),
            ("update_display_data", ("data",)),
        ):
            wire.send("iopub", parent.message(msg_type, dict.fromkeys(keys, value)))
        wire.send("iopub", parent.message("execute_result", {"data": {"text/plain": value, "image/png": value}}))
    updated = [["n", "int", value] for value in odd] + [[value, value, value] for value in odd] + list(odd)
    wire.send("iopub", parent.message("status", {"execution_state": "idle"}))
    payload = [{"source": "page", "data": {"text/plain": "x" * 100_000}}, {"source": "ask_exit"}]
    wire.send(
        "shell", parent.reply(rlm={"updated": updated, "dropped": {"stdout": -5, "stderr": "x"}}, payload=payload)
    )


@behaviour
def unknown_types(wire: Wire, parent: Parent) -> None:
    for msg_type in (
        "comm_open",
        "comm_msg",
        "input_request",
        "debug_event",
        "shutdown_reply",
        "__class__",
        "\x1b[31m",
        "",
    ):
        wire.send("iopub", parent.message(msg_type, {"data": {"x": "y" * 1000}}))
    honest(wire, parent)


def _broken_content(content: bytes) -> Behaviour:
    def send(wire: Wire, parent: Parent) -> None:
        wire.send("iopub", parent.message("stream", content))
        ends(wire, parent)

    return send


BEHAVIOURS["no_json"] = _broken_content(b"{")
BEHAVIOURS["no_object"] = _broken_content(b"[]")
BEHAVIOURS["no_utf8"] = _broken_content(b'{"name": "\xff\xfe"}')
BEHAVIOURS["deep_json"] = _broken_content(b'{"text": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")
BEHAVIOURS["deep_objects"] = _broken_content(b'{"a":' * 400_000 + b"0" + b"}" * 400_000)
BEHAVIOURS["many_items"] = _broken_content(b'{"text": [' + b"[]," * 900_000 + b"[]]}")
BEHAVIOURS["many_items_below_1_mb"] = _broken_content(b'{"text": [' + b"[]," * 330_000 + b"[]]}")
BEHAVIOURS["many_keys"] = _broken_content(b"{" + b",".join(b'"%d":0' % n for n in range(200_000)) + b"}")
BEHAVIOURS["giant_number"] = _broken_content(b'{"text": ' + b"9" * 5_000 + b"}")
BEHAVIOURS["endless_text"] = _broken_content(b'{"text": "' + b'\\"' * 1_400_000)
BEHAVIOURS["large_content"] = _broken_content(b'{"text": "' + b"x" * (3 << 20) + b'"}')
BEHAVIOURS["no_delimiter"] = sends("iopub", multipart(b"a", b"b", b"c", b"d", b"e", b"f"))
BEHAVIOURS["empty_message"] = sends("iopub", frame(b""))
BEHAVIOURS["too_few_parts"] = sends("shell", multipart(b"<IDS|MSG>", b"x", b"{}"))
BEHAVIOURS["huge_frame"] = sends("iopub", bytes([LONG]) + (1 << 40).to_bytes(8, "big") + b"x" * 100_000)
BEHAVIOURS["huge_frame_on_shell"] = sends("shell", bytes([LONG]) + (1 << 62).to_bytes(8, "big"))
BEHAVIOURS["unknown_flags"] = sends("control", bytes([0xF0, 1, 0]))
BEHAVIOURS["many_frames"] = sends("iopub", frame(b"", MORE) * 100)
BEHAVIOURS["error_command"] = sends("iopub", bytes([COMMAND, 10]) + b"\x05ERROR\x03no!")
BEHAVIOURS["large_header"] = lambda wire, parent: wire.send(
    "iopub", parent.message("stream", {"text": "x"}, msg_id="m" * 100_000)
)
BEHAVIOURS["exactly_too_large"] = lambda wire, parent: wire.send(
    "control", parent.message("execute_reply", {}, buffers=(b"x" * (4 << 20),))
)


def repeated(channel: str, make: Callable[[Parent], bytes]) -> Behaviour:
    """Send the same bytes without end, as fast as the host takes them."""

    def run(wire: Wire, parent: Parent) -> None:
        block = make(parent) * 20
        for _ in FOREVER:
            wire.send(channel, block)

    return run


BEHAVIOURS["flood_of_output"] = repeated("iopub", lambda parent: parent.stream("x" * 100_000))
BEHAVIOURS["flood_of_errors_output"] = repeated("iopub", lambda parent: parent.stream("\U0001f600" * 50_000, "stderr"))
BEHAVIOURS["flood_of_small_output"] = repeated("iopub", lambda parent: parent.stream("xy"))
BEHAVIOURS["flood_of_results"] = repeated(
    "iopub", lambda parent: parent.message("execute_result", {"data": {"text/plain": "r" * 300_000}})
)
BEHAVIOURS["flood_of_tracebacks"] = repeated(
    "iopub",
    lambda parent: parent.message("error", {"ename": "E", "evalue": "v" * 50_000, "traceback": ["t" * 100] * 5_000}),
)
BEHAVIOURS["flood_of_pictures"] = repeated(
    "iopub", lambda parent: parent.message("display_data", {"data": {"image/png": "iVBORw0KGgo" + "A" * 300_001}})
)
BEHAVIOURS["flood_for_others"] = repeated(
    "iopub", lambda parent: Parent({"msg_id": "x", "session": "other"}).stream("y" * 10_000)
)
BEHAVIOURS["flood_of_comms"] = repeated(
    "iopub", lambda parent: parent.message("comm_msg", {"data": {"x": "y" * 10_000}})
)
BEHAVIOURS["flood_on_shell"] = repeated("shell", lambda parent: Parent({"msg_id": "x"}).reply())
BEHAVIOURS["flood_on_control"] = repeated("control", lambda parent: Parent({"msg_id": "x"}).reply())
BEHAVIOURS["flood_of_input_requests"] = repeated(
    "control", lambda parent: parent.message("input_request", {"prompt": "password?"})
)
BEHAVIOURS["flood_of_commands"] = repeated("iopub", lambda parent: bytes([COMMAND, 0]) * 10_000)
BEHAVIOURS["flood_of_late_output"] = lambda wire, parent: (
    honest(wire, parent),
    repeated("iopub", lambda parent: parent.stream("z" * 50_000))(wire, parent),
)[0]


@behaviour
def endless_multipart(wire: Wire, parent: Parent) -> None:
    for _ in FOREVER:
        wire.send("iopub", frame(b"x" * 1_000_000, MORE))


@behaviour
def half_sent_giants(wire: Wire, parent: Parent) -> None:
    for channel in ("shell", "iopub", "control"):
        wire.send(channel, bytes([LONG]) + ((4 << 20) - 1).to_bytes(8, "big") + b"x" * ((4 << 20) - 100))


@behaviour
def consoles(wire: Wire, parent: Parent) -> None:
    """Cells of consoles that there are none of, many at a time, each with much output."""
    for number in range(8):
        other = Parent({"msg_id": f"cell-{number}", "session": f"console-{number}"})
        wire.send("iopub", other.message("execute_input", {"code": "c" * 150_000, "execution_count": number}))
        for _ in range(15):
            wire.send("iopub", other.stream("\U0001f600" * 50_000) + other.stream("\u4e00" * 50_000, "stderr"))
    for number in range(8):
        wire.send("iopub", Parent({"msg_id": f"cell-{number}", "session": f"console-{number}"}).status("idle"))
    for number in range(1_500):
        other = Parent({"msg_id": f"small-{number}", "session": "console"})
        wire.send(
            "iopub",
            other.message("execute_input", {"code": "s" * 20_000, "execution_count": number}) + other.status("idle"),
        )
    honest(wire, parent)


@behaviour
def closes_a_channel(wire: Wire, parent: Parent) -> None:
    wire.ends["iopub"].close()
    wire.ends["iopub"] = wire.ends["shell"]


@behaviour
def names_that_act(wire: Wire, parent: Parent) -> None:
    bad = "\x1b]0;t\x07\u202e\u200b\x9b31m"
    wire.send("iopub", parent.stream(bad) + parent.stream(bad, "stderr"))
    wire.send("iopub", parent.message("execute_result", {"data": {"text/plain": bad}}))
    wire.send("iopub", parent.message("error", {"ename": bad, "evalue": bad, "traceback": [bad]}))
    wire.send("iopub", parent.status("idle"))
    rows = [[bad + str(number), bad, 1] for number in range(5_000)]
    wire.send(
        "shell",
        parent.message(
            "execute_reply",
            {"status": "error", "ename": bad, "evalue": bad, "traceback": [bad], "rlm": {"updated": rows}},
        ),
    )


def _with_odd_parent(**changes: Any) -> Callable[[Parent], bytes]:
    return lambda parent: parent.message("rlm_get_var_reply", {"status": "ok", "type": "str"}, **changes)


ODD_ANSWERS: dict[str, Callable[[Parent], bytes]] = {
    "answer_without_an_id": _with_odd_parent(msg_id=None),
    "answer_with_a_list_as_id": _with_odd_parent(msg_id=["x"]),
    "answer_with_a_foreign_id": _with_odd_parent(msg_id="another_1"),
    "answer_to_what_was_not_asked_yet": lambda parent: _with_odd_parent(
        msg_id=parent.header["msg_id"].rpartition("_")[0] + "_999999"
    )(parent),
    "answer_with_digits_of_another_script": lambda parent: _with_odd_parent(
        msg_id=parent.header["msg_id"].rpartition("_")[0] + "_\u0661"
    )(parent),
    "answer_with_an_endless_number": lambda parent: _with_odd_parent(
        msg_id=parent.header["msg_id"].rpartition("_")[0] + "_" + "9" * 200
    )(parent),
    "answer_that_is_no_json": lambda parent: parent.message("rlm_get_var_reply", b"{"),
    "answer_that_is_no_object": lambda parent: parent.message("rlm_get_var_reply", b"[]"),
    "answer_in_too_few_parts": lambda parent: multipart(b"<IDS|MSG>", b"x", b"{}"),
    "answer_that_is_called_a_snapshot": lambda parent: parent.message("rlm_snapshot", {"status": "error"}),
    "answer_that_says_nothing": lambda parent: parent.message("rlm_get_var_reply", {}),
    "answer_of_another_kind": lambda parent: parent.message("shutdown_reply", {"status": "ok"}),
}
"""What may come in place of a variable."""


def answer(name: str, parent: Parent, msg_type: str, content: dict[str, Any], variable: bytes) -> bytes:
    """What the control channel says."""
    if msg_type == "rlm_get_var_request" and name in ODD_ANSWERS:
        return ODD_ANSWERS[name](parent)
    if msg_type == "rlm_load_context_request":
        reply: dict[str, Any] = {"chars": 1, "lines": 1, "documents": [1], "head": "x", "tail": "", "names": {}}
        return parent.message("rlm_load_context_reply", {"status": "ok", **reply})
    if msg_type == "rlm_info_request":
        return parent.message(
            "rlm_info_reply", {"status": "ok", "walls": [], "imports": ["math"], "import_policy": "any"}
        )
    if msg_type == "rlm_get_var_request" and content["name"] == "missing":
        return parent.message("rlm_get_var_reply", {"status": "error", "ename": "NameError", "evalue": "missing"})
    if msg_type == "rlm_get_var_request":
        row = json.loads(variable.partition(b"\n")[0])
        return parent.message("rlm_get_var_reply", row, buffers=(variable.partition(b"\n")[2],))
    return parent.message(msg_type.replace("request", "reply"), {"status": "ok"}, buffers=(variable,))


def serve(stem: str, name: str) -> None:
    wire = Wire(stem)
    variable = sys.stdin.buffer.read()
    print("bound", flush=True)
    for channel in ("shell", "control", "iopub"):
        wire.accept(channel)
    wire.send("iopub", Parent({}).message("iopub_welcome", {}))

    def control() -> None:
        for msg_type, content, parent in wire.requests("control"):
            wire.send("control", answer(name, parent, msg_type, content, variable))

    threading.Thread(target=control, daemon=True).start()
    for msg_type, _, parent in wire.requests("shell"):
        if msg_type == "execute_request":
            BEHAVIOURS.get(name, honest)(wire, parent)
        elif msg_type == "kernel_info_request":
            wire.send("shell", parent.message("kernel_info_reply", {"status": "ok"}))
        else:
            wire.send(
                "shell", parent.message(msg_type.replace("request", "reply"), {"status": "error", "evalue": "no"})
            )


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(sys.argv[1], sys.argv[2])
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
    threading.Event().wait()
