"""What the host says of contexts to a kernel and to a loader process, and what a kernel says of citations and files.

Is: constants and types of the standard library alone. Is not: behaviour, nor a check, as in `wire.py`, which has all
other messages: `kernel/untrusted/` and `context/loader/answers.py` make one of what did come. Above:
`session/kernels/context_loading.py`, `context/`, `in_kernel/`. Below: nothing.

To a kernel: `LOAD_CONTEXT`, as `wire.py` says. To a loader:
one datagram each way at a time, JSON, over a socket of whole datagrams. The host asks, in this order:

    {begin: Limits} [pack]              -> {begun: true}       with a descriptor: all bytes are concatenated in it
    {files: [[Form, named], ...]} [descriptors] -> {files: [Read | Refused, ...]}     as often as there are files;
                                                           `named`: it is loaded whatever is in it
    {finish: true}                      -> {finished: Finished}
    {spool: place} [descriptor]         -> {spooled: bytes, utf8: bytes, errno}    the characters, each as wide as the
                                           widest; and where the place is not 0, from there on all of them as UTF-8
    {index: first}                      -> binary              pairs of 8 bytes: lines and characters, of `INDEX_ROWS`

or, of a JSON text, this alone:

    {json: true} [text, file]           -> {json: Written}     the value that the text says, as `marshal` writes it

or of another loader, which knows nothing else:

    {hash: bytes} [descriptor]          -> {hashed: sha256}    of the first bytes of a file; empty where it has fewer

Before any answer may come {progress: [bytes read, bytes of text]}, at most twice a second.
"""

# No `from __future__ import annotations`: each key's type would be compiled again, in every start of a kernel.

from typing import Final, Literal, NamedTuple, NotRequired, TypedDict

LOAD_CONTEXT: Final = "rlm_load_context_request"
NAME_TAKEN: Final = "NameTaken"
BAD_JSON: Final = "BadJson"
"""`ename` of a `Failure` to add a context."""

EXPLORING: Final = ("look", "search", "count", "lines", "span", "chunks", "rank", "records", "tree", "cite", "quote")
"""The functions that a kernel offers beside the texts. Every kernel has them: they are neither lost nor restored."""

Layout = Literal["ascii", "latin-1", "ucs2", "ucs4"]
"""How the characters of a text lie in a file so that C can read them there: none above 127; some above that, a byte for
each; 2 or 4 bytes for each, the lowest first."""
CANNOT_MAP: Final = "CannotMap"
"""`ename` of a `Failure` to map a context."""

LIST_FILES: Final = "rlm_list_files_request"
READ_FILE: Final = "rlm_read_file_request"
FILE_PART_BYTES: Final = 1 << 20
"""Of a file below `scratch`, in the reply to `READ_FILE` ({name, offset}). Each part but the last has as many."""


class FilesReply(TypedDict):
    """Reply to `LIST_FILES`, which asks with nothing: paths below `scratch` and bytes; by kind what is no such file."""

    status: Literal["ok"]
    files: list[tuple[str, int]]
    left_out: dict[str, int]


class FilePartReply(TypedDict):
    """Reply to `READ_FILE`; `data` in base64. Where `version` is another than before, the file has changed."""

    status: Literal["ok"]
    data: str
    version: str
    last: bool


class LoadContextRequest(TypedDict):
    """`LOAD_CONTEXT`. Its first buffer is the JSON of a `DocumentTable`, but where it is gone."""

    source: Literal["buffer", "descriptor", "mapped", "gone"]
    """Where the documents' bytes are, one after the other: in a second buffer, or in a file on the descriptor socket.
    `mapped`: in such a file, and they stay there; the reply is a `Failure` named `CANNOT_MAP` where the kernel cannot.
    `gone`: they cannot be loaded again, and the context's names are unbound in a fresh kernel."""
    layout: NotRequired[Layout]
    """How the characters lie in the file, where it does not hold the bytes of the documents' own files."""
    utf8: NotRequired[tuple[int, int]]
    """Where in the file the UTF-8 of the same characters lies, and how many bytes it has: what searches works on it."""
    lines: NotRequired[int]
    """Where the host has counted them: the kernel need not go through all of the text."""
    name: str
    add: NotRequired[Literal["text", "json", "value", "again"]]
    """It comes beside the first one: a text, the value of a JSON text, the same as `marshal` has written it, or a text
    in place of what was added last."""
    later: NotRequired[Literal[True]]
    """It comes with its cell of a notebook that runs again (`both_sides/recorded_cells.py`)."""
    chars: NotRequired[int]
    """Of the JSON text behind a `value`."""
    claims_before: NotRequired[int]
    """The largest number that a claim of the session may have by now."""


DocumentRow = tuple[str, int, str, str]
"""Name, size in the bytes that the kernel is given, and of the document's own file its encoding and how what does not
decode is kept (a codec's `errors`)."""


class DocumentTable(TypedDict):
    """A `DocumentRow` for each document, by columns: as rows, 200,000 take ten times as long to write and to read."""

    names: list[str]
    bytes: list[int]
    codecs: list[tuple[str, str, int]]
    """Encoding and errors, and for how many documents after those before."""


class LoadContextReply(TypedDict):
    """Reply to `LOAD_CONTEXT`."""

    status: Literal["ok"]
    chars: int
    lines: int
    documents: list[int]
    """Characters of each of the first `DOCUMENTS_LISTED`."""
    head: str
    """First characters of the whole text."""
    tail: str
    """Its last ones."""
    names: dict[str, str]
    """Each name that the session begins with (a context's is `context`), and the line that the client is shown."""


class ContextGoneReply(TypedDict):
    """The same where the source was `gone`."""

    status: Literal["ok"]
    names: dict[str, str]
    """All names of a session, as in `LoadContextReply`."""
    unbound: list[str]
    """Those of them that are not there without a context."""


DATAGRAM_BYTES: Final = 64 * 1024
FILES_MAX: Final = 64
"""Files of one request; the system passes 253 descriptors at a time at most."""
BLOCK_BYTES: Final = 1 << 16
"""A row of the index stands for so many bytes of a document. Larger blocks would leave the processor's cache."""
INDEX_ROWS: Final = 2_048
"""Rows of the index in one datagram."""

Form = Literal["plain", "gzip", "bzip2", "xz", "zstd"]
LAYOUTS: Final[tuple[Layout, ...]] = ("ascii", "latin-1", "ucs2", "ucs4")
WIDTHS: Final[dict[Layout, int]] = {"ascii": 1, "latin-1": 1, "ucs2": 2, "ucs4": 4}
CODECS: Final[dict[Layout, str]] = {"ascii": "latin-1", "latin-1": "latin-1", "ucs2": "utf-16-le", "ucs4": "utf-32-le"}
"""What writes characters so that they lie in a layout."""
REASONS: Final = (
    "binary",
    "too_large",
    "unpacked",
    "ratio",
    "truncated",
    "corrupt",
    "memory",
    "no_zstd",
    "unreadable",
    "no_room",
)
"""Why a file is not read: no text; more bytes than the context may have; more than may be unpacked, in all or by ratio;
a compressed file that ends too early, or is none from some byte on; one that needs more memory than a loader has; zstd
where this Python has no module for it; an error of the file system in reading, or in writing."""


class Limits(TypedDict):
    """`text_bytes`: of all documents. `hash`: whether they are hashed as they are read; else `Finished` has none.

    The rest is of compressed files: of all, and of each after `ratio_from`.
    """

    text_bytes: int
    hash: bool
    unpacked_bytes: int
    ratio: int
    ratio_from: int


class Read(TypedDict):
    """One document. `bad_bytes` do not decode; `lines`: line ends; `open`: whether the last character is none.

    `looks`: one of `text_encoding.LOOKS`; of a refused one too, where that is binary.
    """

    bytes: int
    encoding: str
    bad_bytes: int
    chars: int
    lines: int
    open: bool
    layout: str
    looks: str


class Refused(TypedDict):
    """`at`: how many bytes of the file had been read; `made`: how many of its text; `errno` of the file system's."""

    refused: str
    at: int
    made: int
    errno: int
    looks: str


class Finished(TypedDict):
    """All documents together. `mapped`: the bytes as they are, are the characters in the layout."""

    sha256: str
    bytes: int
    chars: int
    layout: str
    mapped: bool


JSON_REASONS: Final = ("syntax", "digits", "deep", "memory", "no_room")
"""Why a JSON text has no value: it is none; a number has more digits than are read; it is nested too deep; its value
needs more memory than a loader has; an error of the file system in writing."""
WORDS_CHARS: Final = 200


class Written(TypedDict):
    """`bytes`: of the value. Or `refused`: one of `JSON_REASONS`, `words`: where the text is not JSON, and `errno`."""

    bytes: int
    refused: str
    words: str
    errno: int


CITED_CHARS_MAX: Final = 100_000
"""Of the place of one citation: `cite` refuses a larger one, and the host does not read it."""
CLAIM_TEXT_CHARS: Final = 300
"""Of the beginning of its text, as the kernel has it."""
CLAIMS_MAX: Final = 10_000
"""Citations of a session."""
CLAIMS_STEP_MAX: Final = 1_000
"""Citations that one step may make. The numbers of a fresh kernel begin so much further where the one before was lost
in a step, so that none which that step has printed is given twice."""
CLAIM_NUMBER_MAX: Final = 999_999_999
EXPLORED_MAX: Final = 100
"""Contexts of one `Used`."""
RUNS_MAX: Final = 1_024
SHOWN_MAX: Final = 80
"""Stretches of all contexts in it, and places."""


class Claim(NamedTuple):
    """A citation: `[c3]` means these characters of a document. On the wire a list of the same seven.

    What it says of the text counts for nothing where the source is as it was; else the host knows by it whether the
    passage is still there, and where to look for one like it. A kernel that lies there has its own citation refused.
    """

    number: int
    """From 1 on: 3 of `[c3]`."""
    context: str
    """Name of the context."""
    document: str
    """Name of its document; of a context that is one text, the context's name."""
    start: int
    end: int
    """In characters of the document, the end not included."""
    sha256: str
    """Of the text in UTF-8 (`surrogatepass`), in hexadecimal digits; empty: not said."""
    text: str
    """Its first `CLAIM_TEXT_CHARS` characters; a lone surrogate as `?`."""


class Explored(NamedTuple):
    """How much of a context the kernel's functions were given to look at, since the session's kernel began."""

    context: str
    searched: int
    """Characters that `search`, `count` and `quote` went through, each counted once."""
    ranked: int
    """The same of `rank`."""


Run = tuple[int, int, int]
"""Start and end of a stretch of a context, in its characters, and how often it was gone over."""
Shown = tuple[str, str, int, int]
"""Context, document, and start and end in characters of the document: the first four of a `Claim` behind its number."""


class Used(TypedDict, total=False):
    """What a step has done with the functions that explore the texts; of a well-behaved kernel in its `StepExtra`."""

    functions: dict[str, int]
    """How often it has called each of them."""
    explored: list[Explored]
    """Of each context that was gone over in it, the totals by now."""
    claims: list[Claim]
    """Those that no report has had yet."""
    passes: dict[str, list[Run]]
    """By context, what `search`, `count` and `quote` went through in it: in order, and none overlaps another."""
    shown: list[Shown]
    """Places of which it has taken the text last: there the host looks first for what the step's reply had."""
