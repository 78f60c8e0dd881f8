"""One sentence on what models do by habit and what works differently here.

Is: what to do instead, found by an exception and the step's line, shown below its traceback. Is not: a wall, or a way
to make anything work. A courtesy. Above: `in_kernel/ipython/shell.py`, `in_kernel/ipython/app.py`. Below:
`in_kernel/display_text/inspection.py`, `in_kernel/namespace/documents.py`,
`in_kernel/display_text/source_locations.py`, `wording.py`.
"""

from __future__ import annotations

import builtins
import difflib
import errno
import functools
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.in_kernel.asking.state import is_open
from rlm_kernel_mcp.in_kernel.courtesies.wording import out_of_memory_words, wording
from rlm_kernel_mcp.in_kernel.display_text.inspection import instance_dict
from rlm_kernel_mcp.in_kernel.display_text.source_locations import is_step, source_line
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents, document_like, held_contexts, held_names
from rlm_kernel_mcp.questions_wire import ASKING, CALLING

_NEAR_FROM: Final = 2_000
_NEAR_CHARS: Final = 60
_NEAR_LIKENESS: Final = 0.75
"""The search for the name that was probably meant: among how many, of what length, and how similar."""

_ONE_TEXT: Final = "`context` is one str; documents[name] is one document's text."
_NAMES_ALONE: Final = "`for name in documents` gives names; documents[name] is the text, a str."
_SHELL: Final = re.compile(r"\s*(?:pip3?|conda|uv pip) install\b")
_LOOP: Final = re.compile(r"\bfor\s+(\w+)\s+in\s+documents\s*:")
_CONTEXT_ITEM: Final = re.compile(r"\bcontext\s*\[")
_DOCUMENT_ITEM: Final = re.compile(r"\bdocuments\[[^\]]*\]\s*\[")
_PAIRS: Final = re.compile(r"\bfor\s+\(?\s*\w+\s*,\s*\w+\s*\)?\s+in\s+documents\b(?!\s*\.)")
LOOP_LINES: Final = 30
"""Lines before another one that are searched for the loop that it is in."""
_OUT: Final = re.compile(r"\bOut\[")
_PROCESSES: Final = ("multiprocessing/", "concurrent/futures/process.py", "/subprocess.py", "/pty.py")
_FORK: Final = re.compile(r"\bos\.(fork|forkpty|posix_spawnp?|exec[lv]p?e?|spawn[lv]p?e?)\b")
_DBM: Final = ("dbm/", "/shelve.py")
_LOCK: Final = re.compile(r"\b(flock|lockf)\(|/mailbox\.py")
_MODE: Final = re.compile(r"\b[fl]?chmod\(|/shutil\.py")
_ASKING_ELSEWHERE: Final = ("llm", "llm_batch", "sub_llm", "sub_rlm")
_AWAITED: Final = re.compile(r"\bawait\s+([lr]lm_query(_batched)?|host_call)\s*\(")
_FUNCTIONS: Final = (*EXPLORING, *filter(str.islower, (*ASKING, *CALLING)))
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


def install_os_system() -> None:
    """Have `os.system`, which raises nothing, say why its command did not run."""
    system = os.system

    @functools.wraps(system)
    def system_or_say(command: str | bytes) -> int:
        status = system(command)
        sys.stderr.write(f"[os.system() answers {status}: no process can be started here; use Python]\n")
        return status

    os.system = system_or_say  # type: ignore[assignment]  # as it is called


def out_of_memory(error: BaseException, traceback: types.TracebackType | None) -> str:
    """What to say of a step's MemoryError without a message; empty for any other, or the parser's."""
    if not isinstance(error, MemoryError) or error.args not in ((), ("",)):
        return ""
    while traceback is not None and not is_step(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return out_of_memory_words() if traceback is not None else ""


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
    if type(name) is not str or name in user_ns:
        return ""
    if name in wording().names:
        return wording().names[name]
    known = [known for known in list(user_ns)[:_NEAR_FROM] if type(known) is str and not known.startswith("_")]
    near = difflib.get_close_matches(name[:_NEAR_CHARS], [*known, *dir(builtins)], 1, _NEAR_LIKENESS)
    return f"Did you mean {near[0]}?" if near else ""


def _of_a_function(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """One of ours that was called after a step had bound its name to something else."""
    said = error.args[0] if type(error) is TypeError and error.args else None
    if type(said) is not str or not said.endswith("object is not callable"):
        return ""
    bound = (name for name in _FUNCTIONS if type(user_ns.get(name)) is not types.FunctionType)
    called = (name for name in bound if any(re.search(rf"\b{name}\s*\(", line) for line in lines))
    name = next(called, "")
    documents = user_ns.get("documents")
    if name and type(documents) is Documents and name in held_contexts(documents):
        return f"`{name}` is a context of this session, and the function has no other name here."
    return f"`{name}` is what a step has bound to it; `del {name}` gives the function back." if name else ""


def _of_arguments(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """One of ours that was called with arguments that it does not take."""
    del lines
    said = error.args[0] if type(error) is TypeError and error.args else None
    name = said.partition("() ")[0] if type(said) is str else ""
    function = user_ns.get(name) if name in _FUNCTIONS else None
    if type(function) is not types.FunctionType:
        return ""
    signature = inspect.signature(function)
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return f"It is {name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}."


def _of_asking(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """Another library's names for a question to a model, and an await of what needs none."""
    del user_ns
    if type(error) is NameError and error.name in _ASKING_ELSEWHERE and is_open():
        return "llm_query(prompt, text) asks a model; llm_query_batched(prompts, texts) asks many at once."
    said = error.args[0] if type(error) is TypeError and error.args else None
    if type(said) is str and said.endswith("in 'await' expression") and any(map(_AWAITED.search, lines)):
        return "Questions and calls need no await; llm_query_async is for that, and host_call_async."
    return ""


def _of_a_document(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """A file that is not there, and is a document."""
    del lines
    if not isinstance(error, FileNotFoundError | PermissionError):
        return ""
    path = error.filename or (instance_dict(error) or {}).get("path")
    name = document_like(user_ns.get("documents"), path)
    return f"It is a document: documents[{name!r}] is its text." if name else ""


def _of_an_unbound_context(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del lines
    if type(error) is not NameError or error.name != "context" or not _names(user_ns):
        return ""
    contexts = held_contexts(user_ns["documents"])
    if contexts[:1] in ([], ["context"]):
        return "`context` was unbound by a step; ''.join(documents.values()) is the text."
    return f"The text is called {contexts[0]} in this session."


def _of_an_attribute(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """The text was taken for a mapping or a file, or a document's name for the document."""
    del lines
    names = _names(user_ns)
    if type(error) is not AttributeError or not names:
        return ""
    if error.obj is user_ns["documents"]:
        return "`documents` is a mapping: documents[name] is a text, documents.items() gives both."
    if type(error.obj) is not str:  # `context` may be bound to something else, or unbound, when this is None
        return ""
    return _ONE_TEXT if error.obj is user_ns.get("context") else _NAMES_ALONE if error.obj in names else ""


def _of_an_item(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """The same, asked by `[...]`: then the error does not say of what."""
    said = error.args[0] if type(error) is TypeError and error.args else None
    if type(said) is not str or not said.startswith("string indices must be") or not _names(user_ns):
        return ""
    if any(map(_CONTEXT_ITEM.search, lines)):
        return _ONE_TEXT
    looped = _looped(error.__traceback__)
    if any(map(_DOCUMENT_ITEM.search, lines)) or any(f"{name}[" in line for name in looped for line in lines):
        return _NAMES_ALONE
    return ""


def _names(user_ns: Mapping[str, Any]) -> list[Any]:
    """The names of the documents, if there are some."""
    documents = user_ns.get("documents")
    return held_names(documents) if type(documents) is Documents else []


def _looped(traceback: types.TracebackType | None) -> set[str]:
    """The names that loops over `documents` bind around the lines of steps that an exception passed through."""
    found: set[str] = set()
    while traceback is not None:
        file, last = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        if is_step(file):
            lines = (source_line(file, number) or "" for number in range(max(1, last - LOOP_LINES), last + 1))
            found.update(name for line in lines for name in _LOOP.findall(line))
        traceback = traceback.tb_next
    return found


def _of_a_package(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del lines, user_ns
    if type(error) is SyntaxError and isinstance(error.text, str) and _SHELL.match(error.text):
        return f"No package can be installed in a session; {wording().add_any}."
    return ""


def _of_pairs(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    if type(error) is ValueError and any(map(_PAIRS.search, lines)):
        return "`documents` gives its names: `for name, text in documents.items()` gives both."
    return ""


def _of_a_result(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    return wording().names["Out"] if type(error) is KeyError and any(map(_OUT.search, lines)) else ""


def _of_processes(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    if not isinstance(error, OSError | ImportError):
        return ""
    if any(part in line for line in lines for part in _PROCESSES) or any(map(_FORK.search, lines)):
        return "No process can be started here; concurrent.futures.ThreadPoolExecutor runs threads."
    return ""


def _of_a_lock_or_mode(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """Operations that are refused on a file although it may be written."""
    del user_ns
    if type(error) is not PermissionError or error.errno != errno.EPERM:
        return ""
    if any(part in line for line in lines for part in _DBM):
        return "dbm and shelve set a file's mode, which is refused here: keep a dict, and write it with json or pickle."
    if any(map(_LOCK.search, lines)):
        return "No file can be locked here, and none has to be: the directory `scratch` is this session's alone."
    if any(map(_MODE.search, lines)):
        return "A file's mode cannot be changed here; shutil.copyfile copies the bytes alone."
    return ""


def _of_the_network(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del user_ns
    if not isinstance(error, OSError):
        return ""
    if any(part in line for line in lines for part in _NETWORK) or any(map(_SOCKET.search, lines)):
        return wording().no_network
    return ""


def _of_memory(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    """A library's MemoryError, which says for what (numpy's do) but not what to do."""
    del lines, user_ns
    own_words = isinstance(error, MemoryError) and type(error) is not MemoryError and bool(error.args)
    return f"{out_of_memory_words().capitalize()}." if own_words else ""


def _of_a_fence(error: BaseException, lines: list[str], user_ns: Mapping[str, Any]) -> str:
    del lines, user_ns
    if (
        isinstance(error, SyntaxError)
        and isinstance(error.text, str)
        and error.text.lstrip().startswith(("```", "~~~"))
    ):
        return "Send Python alone, without Markdown around it."
    return ""


_FINDERS: Final[tuple[Callable[[BaseException, list[str], Mapping[str, Any]], str], ...]] = (
    _of_an_unbound_context,
    _of_asking,
    _of_a_name,
    _of_a_function,
    _of_arguments,
    _of_a_document,
    _of_an_attribute,
    _of_an_item,
    _of_a_package,
    _of_pairs,
    _of_a_result,
    _of_processes,
    _of_a_lock_or_mode,
    _of_the_network,
    _of_memory,
    _of_a_fence,
)
