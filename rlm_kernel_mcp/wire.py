"""Names and shapes that the host and the kernel agree on.

Is: stdlib-only constants. Is not: behaviour. Both sides import it: the host to send, `in_kernel` to answer.
Messages are Jupyter messaging 5.5; the ones named `rlm_*` are ours and travel on the control channel, so
that they are answered while a step runs.

`rlm_info_request {}` -> `{status, walls: [{name, holds, detail}], pid, python, imports: [module], import_policy}`
`rlm_load_context_request {source}` and a buffer with the JSON of `[[name, bytes, encoding, errors], ...]`, each
    document; with
    `source: "buffer"` the text's bytes are a second buffer, or
    `source: "descriptor"` they are read from a descriptor that arrives on the kernel's descriptor socket, or
    `source: "gone"` they cannot be had again: a fresh kernel's `context` and `documents` are then unbound
    -> `{status, chars, lines, documents: [chars, ...], head, tail}`, the sizes of the first `DOCUMENTS_TOLD` documents
`rlm_get_var_request {name, offset, limit, as_text}` -> `{status, name, type, size, json, total_chars, whole, own}` and
    one buffer: `json: true` the whole JSON text of the value (it fits within `limit` characters; never with `as_text`),
    `json: false` the UTF-8 (surrogatepass) slice `[offset, offset + limit)` of the value's text;
    `whole: false` that text leaves parts of a very large value out, and says so; `own: false` there is an object of a
    class in it, of which it tells the fields and not what the class itself would say
`rlm_names_request {}` -> `{status, names: [[name, type, size], ...]}`
On shell, since they run in the main thread between steps (the formats: `in_kernel/snapshots/taking.py`):
`rlm_snapshot_request {token, after}` with the write end of a pipe on the descriptor socket
    -> `{status, names: {name: {type, why}}, unverified: [name], more}`
`rlm_restore_request {items: [{name, offset, bytes}]}` with a file on the descriptor socket
    -> `{status, names: {name: null | why}}`
An `execute_request` with `{rlm_step: n}` in its metadata is step n of the session: so its frames are called.
An `execute_request` with `{rlm: {token, after}}` in its metadata is followed, after its reply and `idle`, by one more
    message on shell, `rlm_snapshot`: what `rlm_snapshot_request` answers, with the stream as its buffer; or
    `{status: "too_large"}` where that does not fit one message, for the host to ask for it by a pipe. None follows
    where the reply says `unchanged`: the host has had every value since `after`.
A `history_request` of `hist_access_type: "rlm_others"` is answered with rows (1, execution count, code) of the cells
    that other clients than the asking one ran.
An `interrupt_request` with `{rlm_take_back: [msg_id, ...]}`, cells of the asking client, is answered
    `{status: "ok", rlm_take_back: [msg_id, ...]}` with those that have not begun and never will; where it names none
    that has begun, that is all that is done. Such a cell is answered `aborted` in its turn. A step (`rlm_step`) is
    taken back by nobody.
An error reply is `{status: "error", ename, evalue}`.

`execute_reply.content["rlm"]` = `{updated: [[name, type, size], ...], dropped: {stdout: n, stderr: n}, unchanged}`:
    the names that the step bound or rebound, how many characters of a stream the kernel dropped
    because the step printed more than `output_chars_per_step`, and whether nothing has to be kept anew.
"""

from __future__ import annotations

from typing import Final

OWN_REQUESTS: Final = "rlm_"
"""What the types of our own requests begin with."""

INFO: Final = "rlm_info_request"
LOAD_CONTEXT: Final = "rlm_load_context_request"
GET_VAR: Final = "rlm_get_var_request"
NAMES: Final = "rlm_names_request"
SNAPSHOT: Final = "rlm_snapshot_request"
RESTORE: Final = "rlm_restore_request"
INLINE_SNAPSHOT: Final = "rlm_snapshot"
DOCUMENTS_TOLD: Final = 20
"""Documents of a context whose sizes are told; a context may have 200,000 of them, a message may not."""
INLINE_SNAPSHOT_BYTES_MAX: Final = 48 * 1024
"""Of the stream in an `rlm_snapshot` message."""

SNAPSHOT_ABORTED: Final = 0xFFFFFFFF
"""In place of a chunk's length in a snapshot's stream: this name was given up."""

SNAPSHOT_NAMES_MAX: Final = 5_000
"""Names of a session that are kept."""
SNAPSHOT_NAME_CHARS_MAX: Final = 200
"""Longest name that is kept."""

REPLY_KEY: Final = "rlm"
"""Key of our own part in `execute_reply.content`."""

STEP_KEY: Final = "rlm_step"
"""Key of a step's number in the metadata of its `execute_request`."""

HISTORY_OF_OTHERS: Final = "rlm_others"
"""`hist_access_type` of the host's `history_request`."""

TAKE_BACK: Final = "rlm_take_back"
"""Key of our own part in a console's `interrupt_request` and its reply."""

STATUS_FD: Final = 3
DESCRIPTOR_FD: Final = 4
"""Numbers of a kernel's status socket, until it is ready, and of the socket on which it takes descriptors."""

NAMESPACE: Final = {
    "context": "the whole text, a str; several documents stand one after the other, nothing between them",
    "documents": "mapping of document name to its text (slices of context, made on access): documents[name], "
    ".items(), .at(offset) -> (name, offset in it), .span(name) -> (start, end)",
    "scratch": "path (str) of the one folder where open() may read and write; the documents are no files in it",
}
"""The names put into every session's namespace, with the line that the client is shown for each."""

READ_ONLY_SCRATCH: Final = "the scratch folder is read-only"
"""In the detail of a kernel's row `scratch_quota` where its scratch folder is; open() says so too."""
HOST_COUNTS_THREADS: Final = "counted by the host"
"""In the detail of a kernel's row `rlimits` where nothing of the system's bounds its threads alone."""
NAMESPACE_READ_ONLY: Final = {
    "scratch": f"path (str) of the one folder of open(); {READ_ONLY_SCRATCH} here, since nothing could bound what "
    "lies in it: keep what you make in variables",
}
"""The lines that are others there."""
