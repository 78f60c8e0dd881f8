"""What the courtesies say, where that depends on the reader: a session's agent, or a person at a notebook.

Is: one switch for the whole kernel, and two sets of words. Is not: what is refused, which is the same for both. A
person has none of our tools, and no `context` or `documents` with anything in them. A courtesy. Above:
`in_kernel/launch.py`, `builtins_policy.py`, `hints.py`, `imports.py`, `magics.py`, `in_kernel/requests/stdin.py`.
Below: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_OUT: Final = "Earlier results are not kept: `_` is the last one; bind to a name what you want to keep."
_OUT_NAMES: Final = ("Out", "_1", "_2", "_3", "_4", "_5")
_SHELL_NAMES: Final = ("cat", "cd", "grep", "ls", "pip", "pwd")
_PEERS: Final[Mapping[tuple[str, ...], str]] = {
    ("grep", "rg", "find", "find_all", "search_all", "search_context", "search_text", "regex_search"): (
        "search(pattern, regex=True) finds every place with its line; count(pattern) counts them."
    ),
    ("peek", "head", "tail", "inspect", "describe", "preview", "overview"): (
        "look() says what the text is; span(0, 2000) and lines(1, 40) are parts of it."
    ),
    ("chunk", "chunk_text", "read_chunk", "read_chunks", "get_chunk", "get_chunks", "split_text"): (
        "chunks(8000, by='paragraphs') cuts the text; each is a Span with .text."
    ),
    (
        "semantic_search",
        "bm25",
        "retrieve",
        "top_k",
    ): "rank('some words', k=10) gives the chunks that say most of them.",
    ("read_lines", "get_lines", "line"): "lines(3, 9, doc) gives these lines, counted from 1.",
    (
        "list_files",
        "glob_files",
        "files_tree",
    ): "tree() shows the documents as directories; list(documents) names them.",
    ("read_json", "read_csv", "parse_json", "parse_csv"): "records(doc) reads JSON, JSONL and CSV one by one.",
    ("citation", "cite_text", "verify_quote", "find_quote"): "cite(hit) marks a place; quote(text) finds a passage.",
}
"""What other servers of this kind, and the paper, call such functions, and what ours are."""
_NO_SHELL: Final = "No process can be started here; use Python."
_TOOLS: Final = (
    "rlm_init_context", "rlm_run_repl", "rlm_await_step", "rlm_interrupt",
    "rlm_get_var", "rlm_finalize", "rlm_get_trace", "rlm_list_sessions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wording:
    """What to say to one kind of reader."""

    files: str
    network: str
    no_network: str
    signals: str
    own_library: str
    """In place of a module `rlm`; empty where nothing can be meant by it."""
    nobody_answers: str
    open_elsewhere: str
    read_only_why: str
    exit_does: str
    cell: str
    """What is run at a time."""
    add_any: str
    add: str
    """How to get the module `{name}` of Python's own."""
    add_installed: str
    """How to get the module `{name}`, if it is installed."""
    has_data: str
    """Where the libraries of the other kernelspec are."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names that do not exist, and what does."""


AGENT: Final = Wording(
    files="use `documents` for the text; open(), os.path and pathlib in the directory `scratch`",
    network="there is no network; the text is in `context` and `documents`",
    no_network="There is no network here; the text to work on is in `context` and `documents`.",
    signals="no handler can be set; timeout_ms of rlm_run_repl ends a long step",
    own_library="`context`, `documents` and `scratch` are there without it, and rlm_finalize gives the answer",
    nobody_answers="nobody is there to answer; put the value into the code of the next step",
    open_elsewhere="; the text is in `context`",
    read_only_why=" (`walls_missing` says why)",
    cell="step",
    exit_does="exit() ends the step that calls it; the session and its names stay",
    add_any="the user can add modules (RLM_IMPORTS)",
    add="rlm_init_context says in `imports` what may be; the user can add it with RLM_IMPORTS={name}",
    add_installed="if it is installed, the user can add it with RLM_IMPORTS={name}",
    has_data="the kernelspec rlm-python-data has it (RLM_KERNEL)",
    names={
        **dict.fromkeys(
            ("FINAL", "FINAL_VAR", "final_answer", "SUBMIT", "submit", "finish"),
            "The final answer is given by the tool rlm_finalize (final_var_name or final_text), not in a step.",
        ),
        **dict.fromkeys(
            ("llm", "llm_batch", "sub_llm", "sub_rlm"),
            "A step cannot ask a language model: read what it printed yourself, and go on in the next step.",
        ),
        **dict.fromkeys(_OUT_NAMES, _OUT),
        **dict.fromkeys(_SHELL_NAMES, _NO_SHELL),
        **{name: said for names, said in _PEERS.items() for name in names},
        **dict.fromkeys(("SHOW_VARS", "show_vars"), "%whos lists the session's variables."),
        **dict.fromkeys(
            ("corpus", "ctx", "docs", "document", "files", "get_document", "read_file"),
            "The loaded text is `context` (one str); its documents are in `documents` (name -> text).",
        ),
        **dict.fromkeys(("python", "repl"), "Send Python alone, without Markdown around it."),
        "get_ipython": "IPython's shell is not given to a step.",
        **{name: f"{name} is a tool of this server: call it beside rlm_run_repl, not in a step." for name in _TOOLS},
        "await_step": "A running step is waited for by the tool rlm_await_step.",
    },
)

PERSON: Final = Wording(
    files="open(), os.path and pathlib work in the directory `scratch`",
    network="there is no network",
    no_network="There is no network here.",
    signals="no handler can be set; an interrupt ends a long cell",
    own_library="",
    nobody_answers="this client takes no answers; put the value into the code",
    open_elsewhere="",
    read_only_why="",
    cell="cell",
    exit_does="exit() ends the kernel with its client; exit(keep_kernel=True) lets the kernel live",
    add_any="RLM_IMPORTS in the environment of your client adds modules",
    add="RLM_IMPORTS={name} in the environment of your client adds it",
    add_installed="if it is installed, RLM_IMPORTS={name} in the environment of your client adds it",
    has_data="the kernelspec rlm-python-data has it",
    names=dict.fromkeys(_OUT_NAMES, _OUT) | dict.fromkeys(_SHELL_NAMES, _NO_SHELL),
)

_wording = AGENT
_memory_mb = 0


def speak_to_a_person() -> None:
    """Another Jupyter client started this kernel: from now on its reader is a person."""
    global _wording  # noqa: PLW0603  (one kernel, one kind of reader)
    _wording = PERSON


def note_memory_limit(memory_mb: int) -> None:
    """Note how much memory the session's data may take, for the message when it is used up."""
    global _memory_mb  # noqa: PLW0603  (one kernel, one limit)
    _memory_mb = memory_mb


def out_of_memory_words() -> str:
    """Which limit a step ran into, and what to do."""
    return f"the session's memory limit of {_memory_mb:,} MB is reached; `del` the largest names, or do less at a time"


def wording() -> Wording:
    """The words for whoever reads this kernel."""
    return _wording
