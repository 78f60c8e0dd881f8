"""Names and shapes that the host and the kernel agree on.

Is: constants and types of the standard library alone. Is not: behaviour, nor a check: a type says what a well-behaved
kernel sends, and `kernel/untrusted/` turns what really came into one. Both sides import it: the host to send,
`in_kernel` to answer.

Messages are Jupyter messaging 5.5. The ones named `rlm_*` are ours. They travel on the control channel, so that they
are answered while a step runs; `SNAPSHOT` and `RESTORE` on shell, since they run in the main thread between steps (the
formats: `in_kernel/snapshots/taking.py`). The reply to `rlm_x_request` is `rlm_x_reply`, with the content named here or
`Failure`. The messages of one large matter may have a module of their own beside this one, named `*_wire.py`.
"""

# No `from __future__ import annotations`: each key's type would be compiled again, in every start of a kernel.

from typing import Final, Literal, NotRequired, TypedDict

from rlm_kernel_mcp.context_wire import Used

OWN_REQUESTS: Final = "rlm_"
"""What the types of our own requests begin with."""

INFO: Final = "rlm_info_request"
GET_VAR: Final = "rlm_get_var_request"
NAMES: Final = "rlm_names_request"
SNAPSHOT: Final = "rlm_snapshot_request"
RESTORE: Final = "rlm_restore_request"
INLINE_SNAPSHOT: Final = "rlm_snapshot"
SEND_TEXT: Final = "rlm_send_text_request"
DELIMITER: Final = b"<IDS|MSG>"
"""Between the addresses of a Jupyter message and its signed parts."""
EDGE_CHARS: Final = 400
"""Characters of a context's head, and of its tail, in a load reply and in what a client is shown."""
DOCUMENTS_LISTED: Final = 20
"""Documents of a context whose sizes are reported. A context may have 200,000 of them, too many for a message."""
INLINE_SNAPSHOT_BYTES_MAX: Final = 48 * 1024
"""Bytes of the stream that an `rlm_snapshot` message may hold."""

SNAPSHOT_ABORTED: Final = 0xFFFFFFFF
"""In place of a chunk's length in a snapshot's stream: this name was given up."""

SNAPSHOT_NAMES_MAX: Final = 5_000
"""Most names of a session that are kept."""
SNAPSHOT_NAME_CHARS_MAX: Final = 200
"""Longest name that is kept."""

REPLY_KEY: Final = "rlm"
"""Key of our own part in `execute_reply.content`."""

STEP_KEY: Final = "rlm_step"
"""Key of a step's number in the metadata of its `execute_request`."""

HISTORY_OF_OTHERS: Final = "rlm_others"
"""`hist_access_type` of the host's `history_request`."""

TICKET_KEY: Final = "rlm_ticket"
"""Key of a step's ticket in the metadata of its `execute_request`, and in the request that withdraws the step."""

TAKE_BACK: Final = "rlm_take_back"
"""Key of our own part in a console's `interrupt_request` and its reply."""

STATUS_FD: Final = 3
DESCRIPTOR_FD: Final = 4
"""Numbers of a kernel's status socket, until it is ready, and of the socket on which it takes descriptors."""
FOR_CONTROL: Final = b"c"
FOR_SHELL: Final = b"s"
"""The byte with which a descriptor is passed: whose next request it belongs to. Two threads answer those channels."""

OFFERED_MAX: Final = 64
OFFERED_NAME_CHARS_MAX: Final = 64
OFFERED_LINE_CHARS_MAX: Final = 400
"""Most names that a kernel offers, and most characters of one and of the line that the client is shown for it."""

READ_ONLY_SCRATCH: Final = "the scratch directory is read-only"
"""In the detail of a kernel's row `scratch_quota` where its scratch directory is; open() says so too."""
HOST_COUNTS_THREADS: Final = "counted by the host"
"""In the detail of a kernel's row `rlimits` where the system has no limit for its threads alone."""


class Failure(TypedDict):
    """The reply to a request that could not be served."""

    status: Literal["error"]
    ename: str
    """Name of the exception's type."""
    evalue: str
    """What it says."""


class WallRow(TypedDict):
    """One wall of a kernel."""

    name: str
    holds: bool
    detail: str
    """How it holds, or why it does not."""


class InfoReply(TypedDict):
    """Reply to `INFO`, which asks with nothing."""

    status: Literal["ok"]
    walls: list[WallRow]
    pid: int
    """As the kernel itself counts, in its own namespace."""
    python: str
    """Version."""
    imports: list[str]
    """Modules that a step may import."""
    import_policy: str
    """`allowlist` or `any`."""


class GetVarRequest(TypedDict):
    """`GET_VAR`: a slice of a variable."""

    name: str
    offset: int
    """Characters of the value's text before the slice."""
    limit: int
    """Characters of the slice."""
    as_text: bool
    """Whether its text is wanted although its JSON would fit."""


class GetVarReply(TypedDict):
    """Reply to `GET_VAR`. Its buffer is UTF-8 (surrogatepass): a whole JSON text, or a slice of the value's text."""

    status: Literal["ok"]
    name: str
    type: str
    size: int | None
    """Its length, where it has one."""
    json: bool
    """Whether the buffer is the whole JSON text of the value, which fits `limit` characters."""
    total_chars: int
    """Of the value's text."""
    whole: bool
    """False: that text leaves parts of a very large value out, and says so."""
    own: bool
    """False: it holds an object whose class was not asked; the text has the object's fields instead."""


class SendTextRequest(TypedDict):
    """`SEND_TEXT`, with the write end of a pipe on the descriptor socket, into which the text of a `str` goes.

    As UTF-8 (surrogatepass), and nothing else.
    """

    name: str


class SendTextReply(TypedDict):
    """Reply to `SEND_TEXT`, after all of it."""

    status: Literal["ok"]
    chars: int
    """Characters that were sent."""


class NamesReply(TypedDict):
    """Reply to `NAMES`, which asks with nothing. Its one buffer is the JSON of a `NameRow` for each of the names."""

    status: Literal["ok"]


NameRow = tuple[str, str, int | None]
"""Name, type and size of a variable."""


class SnapshotRequest(TypedDict):
    """`SNAPSHOT`, with the write end of a pipe on the descriptor socket; also in a step's metadata (`StepMetadata`)."""

    token: int
    """Names this snapshot."""
    after: int | None
    """The last snapshot that the host has, if this kernel took it. If it is not the one before this, everything is sent
    again."""


class SnapshotRow(TypedDict):
    """One name in a snapshot's account."""

    type: str
    why: str | None
    """Why the host has no value of it; None where it has one."""


class SnapshotReply(TypedDict):
    """Reply to `SNAPSHOT`; and the content of `INLINE_SNAPSHOT`, whose buffer is the stream."""

    status: Literal["ok"]
    names: dict[str, SnapshotRow]
    unverified: list[str]
    """Names that were not examined this time."""
    more: int
    """Names beyond those that are kept at all."""


class SnapshotTooLarge(TypedDict):
    """Content of `INLINE_SNAPSHOT` where the snapshot does not fit one message: the host asks for it by a pipe."""

    status: Literal["too_large"]


class RestoreItem(TypedDict):
    """Where one value lies in the file of a restore."""

    name: str
    offset: int
    """Bytes before it."""
    bytes: int


class RestoreRequest(TypedDict):
    """`RESTORE`, with a file on the descriptor socket."""

    items: list[RestoreItem]


class RestoreReply(TypedDict):
    """Reply to `RESTORE`."""

    status: Literal["ok"]
    names: dict[str, str | None]
    """Why a name is not back; None where it is."""


class StepMetadata(TypedDict, total=False):
    """Metadata of a step's `execute_request`."""

    rlm_step: int
    """Its number in the session, by which its frames are named."""
    rlm_ticket: str
    """Known to the host and the kernel alone: whoever has it may withdraw the step."""
    rlm: SnapshotRequest
    """Asks for an `INLINE_SNAPSHOT` on shell, after the step's reply and `idle`, unless the reply says `unchanged`."""


class StepExtra(TypedDict):
    """`execute_reply.content["rlm"]` of a step."""

    updated: list[NameRow]
    """Names that the step bound or rebound."""
    dropped: dict[str, int]
    """Characters of each stream that the kernel dropped, since the step printed more than `output_chars_per_step`."""
    unchanged: bool
    """Whether nothing has to be kept again: the host has had every value since `after`."""
    used: NotRequired[Used]
    """What it did with the functions that explore the texts."""
    ends: NotRequired[Literal[True]]
    """That the step has nothing on iopub, not even `idle`: it printed nothing, and the host alone listens."""
    result: NotRequired[str]
    """What is then not said there: the value of its last expression, as text."""


class DisplayExtra(TypedDict):
    """`content["rlm"]` of `display_data` and `execute_result`: for the record alone, so that it acts in no client."""

    kept: dict[str, str]
    """By MIME type: HTML, Markdown, SVG."""
    left_out: dict[str, Literal["too_large", "too_many", "failed"]]


class HistoryRequest(TypedDict):
    """The host's `history_request`: its rows are (1, execution count, code) of cells that other clients ran."""

    output: bool
    raw: bool
    hist_access_type: Literal["rlm_others"]


class TakeBack(TypedDict):
    """A console's `interrupt_request`, and the reply to it beside its status.

    The request names cells of the asking client; the reply names those that have not begun and never will. If no named
    cell has begun, nothing else is done. Such a cell is answered `aborted` in its turn. A step (`rlm_step`) is
    withdrawn by `Withdraw` alone.
    """

    rlm_take_back: list[str]
    """`msg_id` of each cell."""


class Withdraw(TypedDict):
    """The host's `interrupt_request` for a step that has not begun; nothing is interrupted by it."""

    rlm_ticket: str


class WithdrawReply(TypedDict):
    """The reply to `Withdraw` beside its status."""

    withdrawn: bool
    """Whether the step has not begun, and never will. It is answered `aborted` in its turn."""
