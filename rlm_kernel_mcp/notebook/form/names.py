"""What a session's notebook has in its metadata: every name, in one place, and the limits.

Is: the keys below `rlm` of the notebook and of each cell, the tags, and the sentences of cells that run only with the
sources. Is not: how they are filled (`notebook/writing/`), nor a check of a file, which is anybody's
(`notebook/running/file.py`). Above: both. Below: `both_sides/recorded_cells.py`. Source: nbformat 4.5.

Of the notebook, `rlm`: `NotebookFacts`; of a code cell, `rlm`: `CellFacts`; of a markdown cell `{"role": ...}`, which
is `session`, `event`, `subcalls` or `answer`. The rest is nbformat's own.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired, TypedDict

from rlm_kernel_mcp.both_sides.recorded_cells import Role

KEY: Final = "rlm"
FORMAT: Final = 1
"""Of what is below `rlm`: a reader refuses one that it does not know."""
KERNEL: Final = {"name": "rlm-python", "display_name": "Python (RLM, locked down)", "language": "python"}
LANGUAGE: Final = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
    "codemirror_mode": {"name": "ipython", "version": 3},
}
VARIABLE: Final = "RLM_NOTEBOOK"
"""Names the notebook whose sources a kernel of the kernelspec is to have."""

TEXT_CHARS_MAX: Final = 4_000_000
"""Of a context given as text: a longer one is not in the notebook, and a file has to have it (`SourceRow.file`)."""
ANSWER_CHARS_MAX: Final = 4_000_000
"""Of the final answer in its cell."""
ANSWERS_CHARS_MAX: Final = 64_000_000
"""Of all answers to questions together; from there on answers are left out, and their questions fail."""
FILE_BYTES_MAX: Final = 512 << 20
ITEMS_MAX: Final = 8_000_000
"""Of a notebook that is read: bytes, and values in it, each of which takes a hundred bytes of memory, about."""
CELLS_MAX: Final = 20_000
ANSWERS_MAX: Final = 200_000
CONTEXTS_MAX: Final = 64

ANSWER: Final = frozenset({"answer", "answer_base64"})
"""Of a question's fields those one of which it has where it was answered."""
STEP: Final = "step"
CONSOLE: Final = "console"
EVENT: Final = "event"
NOT_REPEATABLE: Final = "not-repeatable"
AFTER_RESTORE: Final = "after-restore"
RAISES: Final = "raises-exception"
"""nbclient's and nbconvert's own: such a cell's exception does not end the run."""
"""Tags of cells, beside `CellFacts.why`."""

Why = Literal[
    "interrupt",
    "timeout",
    "ended",
    "restore",
    "changed",
    "answer",
    "late",
    "cut",
    "clock",
    "chance",
    "address",
    "order",
    "place",
    "characters",
    "count",
    "differed",
]
"""Why a cell's outputs may be others when it runs again.

Facts of the record: `interrupt`, `timeout`: it was stopped. `ended`: its kernel ended with it. `restore`: its kernel
had replaced another one, of which not everything came back. `changed`: a source's file was another one than was loaded.
`answer`: one of its questions failed, or its answer was not kept. `late`: what threads of earlier steps printed is in
its output. `cut`: the record has not all of its output. `characters`: its code has characters that act, in whose place
the notebook has their names. `count`: an error of a console's cell, which is called by another number there.

Guesses, from its code and its output: `clock`, `chance`, `address`, `order` of a set, and the `place` of the scratch
directory. And `differed`: it did, when the notebook ran again.
"""


class SourceRow(TypedDict):
    """A context, and where its text comes from: `paths`, `text` or `text_base64`, or else `file`."""

    name: str
    kind: Literal["text", "documents", "json"]
    prefix: str
    """What stands before its documents' names."""
    chars: int
    lines: int
    bytes: int
    document_count: int
    sha256: str | None
    """Of the bytes of its documents, one after the other. Without it the context cannot be loaded again."""
    at_step: int
    """The last step that had begun when it came."""
    paths: NotRequired[list[str]]
    exclude: NotRequired[list[str]]
    working_dir: NotRequired[str]
    """Where relative paths begin, unless whoever runs the notebook gives another directory."""
    text: NotRequired[str]
    text_base64: NotRequired[str]
    """Its UTF-8 (surrogatepass), of a text that JSON in UTF-8 cannot hold."""
    file: NotRequired[str]
    """The name of a file that has it, in a directory that may be read."""


class NotebookFacts(TypedDict):
    """`rlm` of the notebook."""

    format: int
    version: str
    """Of the package that wrote it."""
    session_id: str
    created_at: str
    question: str | None
    client: str | None
    status: str
    finish_reason: str | None
    limits: dict[str, Any]
    used: dict[str, Any]
    walls: list[str]
    """Those that held."""
    contexts: list[SourceRow]
    functions: list[str]
    """Names of the functions that its code could call."""
    citations: NotRequired[list[dict[str, Any]]]
    """Of the final answer, as the tools have them."""
    coverage: NotRequired[dict[str, Any]]
    annotations: NotRequired[dict[str, Any]]
    """The same as a W3C annotation collection."""


class SubcallFacts(TypedDict, total=False):
    """A question of a cell's code. Without an answer it has none: it failed (`error_code`), or it was not kept."""

    kind: str
    batch: int
    number: int
    fate: str
    error_code: str
    digest: str
    """Names the question (`both_sides/recorded_cells.py`), whose text is not in the notebook."""
    prompt: str
    """The first characters of its texts, for a reader."""
    text: str
    answer: str
    """All of it."""
    answer_base64: str
    """The same, where JSON in UTF-8 cannot hold it."""
    model: str
    child_session: str
    tokens_in: int
    tokens_out: int
    usd: float
    duration_ms: int


class ClaimFacts(TypedDict):
    """A place that a step's code has cited. It is the kernel's word: what an answer cites is checked apart."""

    mark: str
    """As `[c3]` has it: `c3`."""
    context: str
    document: str
    start: int
    end: int
    """In characters of the document, the end not included."""


class SeenFacts(TypedDict, total=False):
    """What a cell has seen of a context, in its characters. What it did by a text's own methods is not there."""

    delivered: list[tuple[int, int]]
    """Ranges that stood in what its client was given: found by the server in the source's own bytes."""
    searched: int
    """How many the functions went over. It is the kernel's word."""


class DisplayFacts(TypedDict):
    """HTML, Markdown or SVG that a step's code has displayed. It is in no output: there it would be rendered."""

    type: str
    place: int
    """Which of the step's displays, from 1; 0: the value of its last expression."""
    text: str


class CellFacts(TypedDict, total=False):
    """`rlm` of a code cell."""

    role: Role
    step: int
    ts: str
    """When it began, UTC."""
    ms: int
    status: str
    context: str
    """Of the role `context`: its name."""
    used: dict[str, int]
    """Of the session's limits, by its end."""
    cost: int
    delivered: int
    printed: dict[str, int]
    """Characters: what it took of the budget, what its client was given of it, and what it printed."""
    functions: dict[str, int]
    """How often it called each function that explores the texts."""
    seen: dict[str, SeenFacts]
    """By context."""
    citations: list[ClaimFacts]
    contexts_changed: list[str]
    subcalls: list[SubcallFacts]
    displays: list[DisplayFacts]
    why: list[Why]
    ended: str
    """Of a step that ended its kernel: what it fails with when the notebook runs again."""
    limit_ms: int
    """Of a step that was stopped: after how long it is stopped again."""


HOW: Final = (
    "This notebook needs its sources. Run it with `rlm-kernel-mcp notebook run FILE [--root DIR]`, or start nbclient "
    f"or JupyterLab with {VARIABLE}=FILE in its environment."
)
_HOW: Final = HOW.split(", ", 1)
SOURCES_CELL: Final = f"""\
# A kernel that has the sources of this notebook loads them in place of this cell.
raise RuntimeError(
    {_HOW[0] + ", "!r}
    {_HOW[1]!r}
)"""
CONTEXT_CELL: Final = """\
# Here the agent added the context {name}. A kernel that has the sources loads it in place of this cell.
raise RuntimeError("This cell needs the sources of the notebook, as its first one does.")"""
ENDED: Final = (
    "In the run this step ended its kernel ({status}), so it is not run again. Its names are those of the steps before."
)


def sources_needed(rows: list[SourceRow]) -> str:
    """What the first cell says of files that are needed; empty where there are none."""
    needed = [row for row in rows if "file" in row]
    if not needed:
        return ""
    said = (f"# {row['file']} ({row['chars']:,} characters, sha256 {row['sha256']})" for row in needed)
    return "\n".join(["# Too long for a notebook, so each of these has to be in the directory given by --root:", *said])
