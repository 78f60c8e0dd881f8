"""Values and messages that break a parser rather than a format: numbers, depths, halves of characters, wrong types."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.escape.kernels.kernel_server import FORGE, KernelServer
from tests.parts import one_of_each

VALUES: Final = {
    "no number": "float('nan')",
    "infinite": "[float('inf'), -float('inf')]",
    "a long number": "10 ** 5_000",
    "long numbers in a dict": "{10 ** 5_000: -(10 ** 5_000)}",
    "a longer number": "1 << 20_000_000",
    "a large exponent": "__import__('decimal').Decimal('1e999999999')",
    "1,000 deep": "made",
    "in itself": "made",
    "half a character": "'\\ud800'",
    "halves for keys": "{'\\ud800': '\\udcff', '\\udc80': ['\\udfff']}",
    "a NUL": "'a\\0b'",
    "keys that are the same when written": "{1: 'a', '1': 'b', True: 'c', 'true': 'd', None: 'e', 'null': 'f'}",
    "10 MB of text": "'x' * 10_000_000",
    "a million halves": "'\\ud800' * 1_000_000",
    "10 MB in a list": "['x' * 10_000_000] * 3",
    "a million items": "[[]] * 1_000_000",
    "a million keys": "dict.fromkeys(range(1_000_000))",
}
MAKE: Final = {
    "1,000 deep": "made = 0\nfor _ in range(1_000): made = [made, {'a': (made,)}] if _ % 2 else {'k': made}",
    "in itself": "made = []; made.append({'self': made}); made += [made]",
}


ODD_VALUES: Final = {
    *("no number", "a long number", "1,000 deep", "in itself", "half a character", "10 MB in a list"),
    "keys that are the same when written",
}
"""One of each kind."""


@pytest.mark.parametrize("name", one_of_each({name: name for name in VALUES}, ODD_VALUES))
def test_a_value_that_breaks_parsers_is_answered_for_in_bounds(each_server: KernelServer, name: str) -> None:
    """As a result, an error, a variable, an answer, and in the trace: JSON and Unicode each time, of bounded size."""
    call, session = each_server.client.call, each_server.open()
    with each_server.bounded_memory():
        shown = each_server.run(session, f"{MAKE.get(name, '')}\nvalue = {VALUES[name]}\nvalue")
        assert shown["lost"] is None
        raised = each_server.run(session, "raise ValueError(value)")
        assert raised["status"] == "error"
        for limit in (10, 200_000):
            read = each_server.client.data("rlm_get_var", session_id=session, var_name="value", limit=limit)
            assert len(json.dumps(read, ensure_ascii=False)) < 6 * limit + 2_000
            sound(read)
        sound(each_server.client.data("rlm_get_trace", session_id=session, detail="full"))
        answer = call("rlm_finalize", session_id=session, final_var_name="value")
        sound(answer)
        if answer.get("isError"):
            assert json.loads(answer["content"][0]["text"])["error"]["code"] == "INVALID_INPUT"
            each_server.give_up(session)
        each_server.check_neighbour()


def sound(value: Any) -> None:
    """JSON without what only Python takes for it, of whole characters."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


NAMES: Final = {
    "half a character": "globals()['\\ud800\\udfff'] = 1",
    "a NUL": "globals()['a\\0b'] = 1",
    "no text": "globals()[3] = globals()[None] = globals()[(1,)] = globals()[b'x'] = 1",
    "10 MB": "globals()['x' * 10_000_000] = 1",
    "20,000 names": "globals().update({f'n{n}': n for n in range(20_000)})",
    "a text of its own kind": "class Name(str): __slots__ = ()\nglobals()[Name('kind')] = 1",
    "a name that cannot be compared": """
class Name(str):
    def __hash__(self): return hash('victim')
    def __eq__(self, other): raise BaseException('no')
globals()[Name('victim')] = 1
""",
    "types without names": "value = type('\\ud800' if False else 'x' * 1_000_000, (), {})()",
}


@pytest.mark.parametrize("code", NAMES.values(), ids=NAMES)
def test_a_name_that_breaks_parsers_is_listed_in_bounds(each_server: KernelServer, code: str) -> None:
    """In the reply, in a refusal, in the trace; the session goes on."""
    session = each_server.open()
    with each_server.bounded_memory():
        data = each_server.run(session, code)
        assert data["status"] in ("ok", "error")
        assert len(json.dumps(data)) < 50_000
        sound(data)
        refused = each_server.client.error("rlm_get_var", session_id=session, var_name="missing")
        assert refused["code"] == "VARIABLE_NOT_FOUND"
        assert len(refused["message"]) < 5_000
        assert each_server.client.run(session, "6 * 7")["result"] == "42"
        sound(each_server.client.data("rlm_get_trace", session_id=session, detail="full"))
    each_server.give_up(session)


SAY: Final = (
    FORGE
    + """
import json
def say_raw(channel, msg_type, content, about=parent):
    'A message whose content is these bytes.'
    header = json.dumps({"msg_id": "m", "msg_type": msg_type, "session": "s", "username": "u", "version": "5.3"})
    about = json.dumps({key: str(value) for key, value in about["header"].items()})
    parts = [header.encode(), about.encode(), b"{}", content]
    frames = [b"<IDS|MSG>", kernel.session.sign(parts), *parts]
    if channel == "iopub":
        kernel.iopub_thread.send_multipart([b"topic", *frames])
    else:
        kernel.shell_stream.send_multipart([*ident, *frames]); kernel.shell_stream.flush()
WRONG = [None, True, 3, -1, 10 ** 400, float("nan"), float("inf"), "\\ud800", "a\\0b", [], {}, [[]], {"a": {}}]
WRONG += ["x" * 100_000]
deep = b"[" * 900 + b"]" * 900
"""
)
MESSAGES: Final = {
    "every field of a wrong type": """
fields = ("name", "text", "execution_state", "code", "execution_count", "data", "metadata", "transient", "ename",
          "evalue", "traceback", "comm_id", "target_name", "wait", "prompt", "password")
for kind in ("stream", "display_data", "update_display_data", "execute_result", "error", "status", "execute_input",
             "clear_output", "comm_open", "comm_msg", "comm_close", "input_request", "iopub_welcome", "x"):
    for value in WRONG:
        say_raw("iopub", kind, json.dumps({field: value for field in fields}).encode())
""",
    "the same key twice": """
say_raw("iopub", "stream", b'{"name": "stdout", "text": 1, "text": "second", "name": "stderr", "name": "stdout"}')
""",
    "no number, and a deep list": """
say_raw("iopub", "stream", b'{"name": "stdout", "text": "said", "x": [NaN, Infinity, -Infinity], "y": ' + deep + b"}")
""",
    "odd types of data": """
for mime_type in ("text/plain\\0", "TEXT/HTML", "image/png", "application/json", "a" * 100_000, "", "\\ud800"):
    for value in WRONG:
        forge("display_data", {"data": {mime_type: value}, "metadata": {mime_type: value}, "transient": value})
""",
    "a picture that is none": """
import base64
large = base64.b64encode(b"\\x89PNG\\r\\n\\x1a\\n" + bytes(1 << 20)).decode()
for data in ("!!!!", "iVBORw0KGgo", large, "x" * 1_400_000):
    forge("display_data", {"data": {"image/png": data, "image/jpeg": data}, "metadata": {}})
""",
    "what is for the record of wrong types": """
for value in WRONG:
    for part in (value, {"kept": value, "left_out": value}, {"kept": {"text/html": value, "image/svg+xml": value}},
                 {"left_out": {"text/html": value, "x": value}}):
        say_raw("iopub", "display_data", json.dumps({"data": {}, "rlm": part}).encode())
        say_raw("iopub", "execute_result", json.dumps({"data": {"image/png": value}, "rlm": part}).encode())
""",
    "pictures that promise more than they are": """
import base64, struct, zlib
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
bomb = zlib.compress(bytes(50_000_000))
for side in (12_000, 16_384, (1 << 32) - 1):
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0))
    for pixels in (b"", bomb, bytes(1_000_000)):
        picture = b"\\x89PNG\\r\\n\\x1a\\n" + size + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        forge("display_data", {"data": {"image/png": base64.b64encode(picture).decode()}, "metadata": {}})
""",
    "its replies of wrong types": """
for value in WRONG:
    for status in ("ok", "error", "aborted", 3):
        part = {"updated": [value, [value] * 3, ["n", "t", value]], "dropped": {"stdout": value, "stderr": value}}
        fields = ("execution_count", "payload", "user_expressions", "ename", "evalue", "traceback")
        content = {"status": status, "rlm": part, **{field: value for field in fields}}
        say_raw("shell", "execute_reply", json.dumps(content).encode())
""",
    "its reply's own part of wrong types": """
for value in WRONG:
    say_raw("shell", "execute_reply", json.dumps({"status": "ok", "rlm": value}).encode())
""",
    "payloads and expressions": """
payload = [{"source": "page", "data": {"text/plain": "x" * 1_000_000}, "start": "no"}, 3, None]
expressions = {"\\x1b": {"data": {"text/html": "x"}}}
forge("execute_reply", {"status": "ok", "payload": payload, "user_expressions": expressions}, "shell")
""",
    "answers that nobody asked for": """
for kind in ("rlm_snapshot", "rlm_get_var_reply", "rlm_snapshot_reply", "rlm_restore_reply", "rlm_info_reply",
             "rlm_list_files_reply", "rlm_read_file_reply",
             "kernel_info_reply", "history_reply", "rlm_load_context_reply", "shutdown_reply"):
    for value in WRONG:
        say_raw("shell", kind, json.dumps({"status": value, "names": value, "more": value, "history": value}).encode())
""",
    "cells of consoles of wrong types": """
for number, value in enumerate(WRONG):
    about = {"header": {"msg_id": f"c{number}", "session": "console", "msg_type": "execute_request"}}
    say_raw("iopub", "execute_input", json.dumps({"code": value, "execution_count": value}).encode(), about)
    say_raw("iopub", "stream", json.dumps({"name": value, "text": value}).encode(), about)
    say_raw("iopub", "status", b'{"execution_state": "idle"}', about)
""",
}


FORGED: Final = {
    *("every field of a wrong type", "odd types of data", "its replies of wrong types"),
    *("answers that nobody asked for", "cells of consoles of wrong types"),
}
"""One of each kind."""


@pytest.mark.parametrize("code", one_of_each(MESSAGES, FORGED))
def test_a_forged_message_makes_that_step_wrong_and_nothing_else(kernel_server: KernelServer, code: str) -> None:
    """The kernel lives, the report is well-formed, and the next step is right again."""
    session = kernel_server.open()
    with kernel_server.bounded_memory():
        data = kernel_server.run(session, SAY + code)
        assert data["status"] in ("ok", "error")
        assert data["lost"] is None
        sound(data)
        kernel_server.run(session, "kernel.get_parent()")  # what came too late is told with this step
        data = kernel_server.run(session, "6 * 7")
        assert (data["status"], data["result"]) == ("ok", "42")
        sound(kernel_server.client.data("rlm_get_trace", session_id=session, detail="full"))
        sound(kernel_server.client.data("rlm_get_var", session_id=session, var_name="deep"))
    kernel_server.give_up(session)


BREAKS: Final = {
    "a number of 5,000 digits": "say_raw('iopub', 'stream', b'{\"text\": ' + b'9' * 5_000 + b'}')",
    "deeper than Python goes": "say_raw('iopub', 'stream', b'{\"text\": ' + b'[' * 100_000 + b']' * 100_000 + b'}')",
    "bytes that are not UTF-8": "say_raw('shell', 'execute_reply', b'{\"status\": \"\\xff\"}')",
    "no object": "say_raw('shell', 'execute_reply', b'[]')",
    "10 MB": "say_raw('iopub', 'stream', b'{\"text\": \"' + b'x' * 10_000_000 + b'\"}')",
}


@pytest.mark.parametrize("code", one_of_each(BREAKS, {"deeper than Python goes", "10 MB"}))
def test_a_message_that_cannot_be_read_ends_its_kernel_and_says_why(kernel_server: KernelServer, code: str) -> None:
    """In bounded memory; a fresh one has the context."""
    session = kernel_server.open()
    with kernel_server.bounded_memory():
        data = kernel_server.run(session, SAY + code + "\ntime.sleep(60)")
        assert data["status"] == "kernel_died"
        assert "message" in data["lost"]["reason"]
        assert kernel_server.client.run(session, "context")["result"] == "'some text'"
    kernel_server.give_up(session)
