"""Text that acts on a terminal, or hides what it says, reaches the client as text: from any place, in both formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.escape.kernels.kernel_server import KernelServer
from tests.mcp.line_client import ENDLESS_CALL, text_of

ACTING: Final = (
    "\x1b[31m\x1b[2J\x1b]0;title\x07\x1b]8;;http://example.org\x1b\\\x1b]52;c;aGk=\x07\x1bP1$r\x1b\\"  # CSI, OSC, DCS
    "\x9b31m\x9d0;title\x9c\x85\x7f\x08\x08\x0b\x0c\rover"  # C1, DEL, backspaces, a line printed over
    "\u202e\u2066\u200b\u2060\ufeff\u00ad\u2028\U000e0041\u061c"  # bidi, zero width, BOM, separators, tags
)
NUL: Final = "\x00"
ACTS: Final = re.compile(f"[{re.escape(''.join(set(ACTING) - set(map(chr, range(32, 127)))))}\x00-\x08\x0e-\x1f]")
VISIBLE: Final = "\\x1b]52;c;aGk=\\x07"
"""How a part of it is to look."""
FORMATS: Final = ("json", "markdown")

BEGIN: Final = f"""
T = {ACTING + NUL!a}
N = {ACTING!a}
class Shown:
    def __repr__(self): return T
class Noted(Exception): pass
"""
STEPS: Final = {
    "stdout": "print(T)",
    "stderr": "import warnings; warnings.warn(T)",
    "the result": "Shown()",
    "a display": "display(Shown())",
    "an error's message": "raise ValueError(T)",
    "an error's name": "raise type(N, (Exception,), {})('x')",
    "a note": "noted = Noted('x'); noted.add_note(T); raise noted",
    "a cause": "try: raise KeyError(T)\nexcept KeyError as cause: raise ValueError('x') from cause",
    "a source line": f"raise ValueError('x') # {ACTING}".replace("\r", "").replace("\x0c", "").replace("\x85", ""),
    "a syntax error": f"x = = 1 # {ACTING}".replace("\r", "").replace("\x0c", "").replace("\x85", ""),
    "a function's name": "def f(): 1 / 0\nf.__code__ = f.__code__.replace(co_name=N, co_qualname=N)\nf()",
    "a variable's name": "globals()['shown ' + T] = object()",
    "a type's name": "value = type(N, (), {})()",
}
"""What a step does to have it shown."""


@pytest.fixture(scope="module")
def acting(each_server: KernelServer) -> Iterator[str]:
    """A session whose code holds the text."""
    session = each_server.open()
    assert each_server.client.run(session, BEGIN)["status"] == "ok"
    yield session
    each_server.give_up(session)


def check(result: dict[str, Any]) -> None:
    """Nothing in a result acts, and the text is there to be seen."""
    for text in texts(result):
        assert ACTS.search(text) is None, text
        assert "\r" not in text.replace("\r\n", "\n"), text
    assert VISIBLE in text_of(result).replace("\\\\", "\\")


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


@pytest.mark.parametrize("response_format", FORMATS)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_what_a_step_shows_cannot_act(each_server: KernelServer, acting: str, step: str, response_format: str) -> None:
    """In the reply, and whenever the step is reported again."""
    call = each_server.client.call
    check(call("rlm_run_repl", session_id=acting, code=step, response_format=response_format))
    index = each_server.row(acting)["step_index"]
    check(call("rlm_await_step", session_id=acting, step_index=index, response_format=response_format))
    trace = {"from_step": index, "to_step": index, "detail": "full", "response_format": response_format}
    shown = call("rlm_get_trace", session_id=acting, **trace)
    for text in texts(shown):
        assert ACTS.search(text) is None, text


@pytest.mark.parametrize("response_format", FORMATS)
@pytest.mark.parametrize("value", ["T", "[T]", "{T: {T: T}}", "Shown", "held"])
def test_what_a_variable_holds_cannot_act(
    each_server: KernelServer, acting: str, value: str, response_format: str
) -> None:
    """As text, as JSON with its keys, as an object with its attributes."""
    bound = f"held = Shown(); setattr(held, 'x' + N, T)\nShown.__name__ = Shown.__qualname__ = N\nname = {value}"
    assert each_server.client.run(acting, bound)["status"] == "ok"
    check(each_server.client.call("rlm_get_var", session_id=acting, var_name="name", response_format=response_format))


@pytest.mark.parametrize("response_format", FORMATS)
def test_names_in_a_refusal_cannot_act(each_server: KernelServer, acting: str, response_format: str) -> None:
    """The nearest names to a missing one are the code's choice."""
    each_server.client.run(acting, "globals()['missing' + '\\x1b[31m'] = 1")
    arguments = {"session_id": acting, "var_name": "missing", "response_format": response_format}
    refused = each_server.client.call("rlm_get_var", **arguments)
    assert refused["isError"]
    assert "missing\\x" in text_of(refused).replace("\\\\", "\\")
    assert not any(ACTS.search(text) for text in texts(refused))


@pytest.mark.parametrize("response_format", FORMATS)
def test_names_that_a_kernel_took_with_it_and_an_answer_cannot_act(
    each_server: KernelServer, response_format: str
) -> None:
    """The account of a loss, the final answer, and the trace of it all."""
    session, call = each_server.open(), each_server.client.call
    each_server.client.run(session, BEGIN + "globals()[T] = iter([])")
    lost = call("rlm_run_repl", session_id=session, code=ENDLESS_CALL, timeout_ms=200, response_format=response_format)
    check(lost)
    each_server.client.run(session, BEGIN)
    options = {"session_id": session, "response_format": response_format}
    check(call("rlm_finalize", final_var_name="T", **options))
    check(call("rlm_get_trace", detail="full", **options))


@pytest.mark.parametrize("response_format", FORMATS)
def test_a_context_cannot_act(each_server: KernelServer, response_format: str) -> None:
    """Its head and tail, and the names of its documents: a directory's files may be called anything."""
    call = each_server.client.call
    check(call("rlm_init_context", context_text=ACTING, response_format=response_format))
    directory = Path(each_server.client.directory, response_format)
    directory.mkdir()
    (directory / ("doc" + ACTING.replace("/", ""))).write_text("x", encoding="utf-8")
    shown = call("rlm_init_context", context_paths=[directory.name], response_format=response_format)
    assert not any(ACTS.search(text) for text in texts(shown))
    assert not shown.get("isError"), shown
