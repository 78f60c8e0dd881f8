"""One sentence for what models do by habit and what is otherwise here.

Is: what to do instead, found by an exception and the step's line, shown below its traceback. Is not: a wall, or a way
to make anything work. A courtesy. Above: `shell.py`, `app.py`. Below: `inspection.py`, `namespace.py`,
`step_places.py`.
"""

from __future__ import annotations

import asyncio
import functools
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.inspection import instance_dict
from rlm_kernel_mcp.in_kernel.namespace import document_like
from rlm_kernel_mcp.in_kernel.step_places import is_step, source_line

NAMES: Final = {
    **dict.fromkeys(
        ("FINAL", "FINAL_VAR", "final_answer", "SUBMIT"),
        "The final answer is given by the tool rlm_finalize (final_var_name or final_text), not in a step.",
    ),
    **dict.fromkeys(
        ("llm_query", "llm_batch", "llm_query_batched", "rlm_query", "rlm_query_batched", "llm", "sub_llm", "sub_rlm"),
        "A step cannot ask a language model: read what it printed yourself, and go on in the next step.",
    ),
    **dict.fromkeys(
        ("Out", "_1", "_2", "_3", "_4", "_5"),
        "Earlier results are not kept: `_` is the last one; bind to a name what you want to keep.",
    ),
    **dict.fromkeys(("SHOW_VARS", "show_vars"), "%whos lists the session's variables."),
    **dict.fromkeys(
        ("corpus", "ctx", "docs", "document", "files"),
        "The loaded text is `context` (one str); its documents are in `documents` (name -> text).",
    ),
    "get_ipython": "IPython's shell is not given to a step.",
    **{
        name: f"{name} is a tool of this server: call it beside rlm_run_repl, not in a step."
        for name in (
            *("rlm_init_context", "rlm_run_repl", "rlm_await_step", "rlm_interrupt"),
            *("rlm_get_var", "rlm_finalize", "rlm_get_trace", "rlm_list_sessions"),
        )
    },
    "await_step": "A running step is waited for by the tool rlm_await_step.",
}
"""Names that are not there, and what is."""

_PAIRS: Final = re.compile(r"\bfor\s+\(?\s*\w+\s*,\s*\w+\s*\)?\s+in\s+documents\b(?!\s*\.)")
_OUT: Final = re.compile(r"\bOut\[")
_PROCESSES: Final = ("multiprocessing/", "concurrent/futures/process.py", "/subprocess.py")
_FORK: Final = re.compile(r"\bos\.(fork|forkpty|posix_spawnp?|exec[lv]p?e?|spawn[lv]p?e?)\b")
_NETWORK: Final = ("/socket.py", "/urllib/request.py", "/http/client.py", "/requests/", "/urllib3/", "/httpx/")
_SOCKET: Final = re.compile(r"\bsocket\.")


def hint(error: BaseException, traceback: types.TracebackType | None, user_ns: Mapping[str, Any]) -> str:
    """What to do instead, in one sentence; empty where nothing is known. Runs no code of the error's."""
    lines = _step_lines(traceback)
    for find in _FINDERS:
        said = find(error, lines, user_ns)
        if said:
            return said
    return ""


def install_asyncio_run() -> None:
    """Have what runs a coroutine to its end say what works here, where an event loop runs, and leave none behind."""
    run, run_until_complete = asyncio.run, asyncio.BaseEventLoop.run_until_complete

    @functools.wraps(run)
    def run_or_say(main: Any, **options: Any) -> Any:
        _say_if_running("asyncio.run()", main)
        return run(main, **options)

    @functools.wraps(run_until_complete)
    def run_until_complete_or_say(self: asyncio.BaseEventLoop, future: Any) -> Any:
        if self.is_running():
            _say_if_running("run_until_complete()", future)
        return run_until_complete(self, future)

    asyncio.run = run_or_say
    asyncio.BaseEventLoop.run_until_complete = run_until_complete_or_say  # type: ignore[method-assign]


def _say_if_running(what: str, main: Any) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    name = getattr(main, "__name__", "main")
    if isinstance(main, types.CoroutineType):
        main.close()  # else "never awaited" is said at some other line
    raise RuntimeError(f"{what} cannot be called from a running event loop: write `await {name}()` instead")


def _step_lines(traceback: types.TracebackType | None) -> list[str]:
    """What an exception passed through, the outermost first: of a step its line, of a library its file."""
    lines = []
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        lines.append((source_line(file, traceback.tb_lineno) or "") if is_step(file) else file)
        traceback = traceback.tb_next
    return lines


def _of_a_name(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del lines
    name = error.name if type(error) is NameError else None
    return NAMES.get(name, "") if isinstance(name, str) and name not in user_ns else ""


def _of_a_document(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """A file that is not there, and is a document."""
    del lines
    if not isinstance(error, FileNotFoundError | PermissionError):
        return ""
    path = error.filename or (instance_dict(error) or {}).get("path")
    name = document_like(user_ns.get("documents"), path)
    return f"It is a document: documents[{name!r}] is its text." if name else ""


def _of_pairs(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    if type(error) is ValueError and any(map(_PAIRS.search, lines)):
        return "`documents` gives its names: `for name, text in documents.items()` gives both."
    return ""


def _of_a_result(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    return NAMES["Out"] if type(error) is KeyError and any(map(_OUT.search, lines)) else ""


def _of_processes(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    if not isinstance(error, OSError | ImportError):
        return ""
    if any(part in line for line in lines for part in _PROCESSES) or any(map(_FORK.search, lines)):
        return "No process can be started here; concurrent.futures.ThreadPoolExecutor runs threads."
    return ""


def _of_the_network(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    if not isinstance(error, OSError):
        return ""
    if any(part in line for line in lines for part in _NETWORK) or any(map(_SOCKET.search, lines)):
        return "There is no network here; the text to work on is in `context` and `documents`."
    return ""


def _of_a_fence(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del lines, user_ns
    if isinstance(error, SyntaxError) and isinstance(error.text, str) and error.text.lstrip().startswith("```"):
        return "Send Python alone, without Markdown around it."
    return ""


_FINDERS: Final[tuple[Callable[[BaseException, list[str], Mapping[str, Any]], str], ...]] = (
    _of_a_name,
    _of_a_document,
    _of_pairs,
    _of_a_result,
    _of_processes,
    _of_the_network,
    _of_a_fence,
)
