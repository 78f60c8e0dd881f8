"""A text that the client gave itself, on its way to a kernel: in a message, or in a file of the server's own.

Is: which of the two, how it is held, and what is known of it; and a loader over a JSON text, which makes its value. Is
not: a look into a JSON text, which only the loader takes. Above: the session, in a worker thread. Below: `payload.py`,
`held.py`, `context/loader/`.

A small text goes in a message. A larger one would be in memory several times that way, here and in its kernel, so it is
written into a file without a name, which the kernel decodes, or maps where its memory is not to hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import Room, lies_in_memory
from rlm_kernel_mcp.context.loader.answers import ValueRefused
from rlm_kernel_mcp.context.loader.client import LoaderClient, unwritten
from rlm_kernel_mcp.context.loader.loaders import GoOn, Loaders
from rlm_kernel_mcp.context.loader.spool import Spool, Spooled
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.payload import Facts, Payload
from rlm_kernel_mcp.context_wire import CODECS, WIDTHS, Layout
from rlm_kernel_mcp.errors import ContextTooLarge, InvalidInput, RequestRefused
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text_encoding import char_width
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.whole_writes import write_at
from rlm_kernel_mcp.wire import EDGE_CHARS

BY_FILE_BYTES: Final = 8 * MB
"""From here on a text goes by a file."""
PIECE_CHARS: Final = 1 << 20
_WHY_NOT: Final = {
    "syntax": "{words}",
    "digits": "a whole number of it has more than 4,300 digits",
    "deep": "it is nested too deep to be parsed, more than about 1,000 levels",
}
_LAYOUTS: Final[dict[int, Layout]] = {0: "ascii", 1: "latin-1", 2: "ucs2", 4: "ucs4"}


def inline_payload(text: str, name: str, room: Room, spool: Spool | None = None, go_on: GoOn = lambda: None) -> Payload:
    """The payload of a text, kept as it is: of a lone surrogate there are three bytes. `spool`: None: there is none.

    Raises:
        ContextTooLarge: there is no room for it in memory, nor on disk.
    """
    digest, byte_count, width = hashlib.sha256(), 0, 0
    for piece in _pieces(text):
        go_on()
        data = piece.encode("utf-8", "surrogatepass")
        digest.update(data)
        byte_count += len(data)
        width = max(width, char_width(piece))
    layout = _LAYOUTS[width]
    document = Document(name, byte_count, "utf-8", errors="surrogatepass")
    made = Payload("text", (document,), byte_count, digest.hexdigest(), None, None, Skipped(), facts=facts_of(text))
    made.room = room
    made.text_bytes = text_bytes = len(text) * WIDTHS[layout]
    if spool is not None and (byte_count >= BY_FILE_BYTES or text_bytes > room.in_memory_bytes):
        try:
            _by_file(made, text, layout, spool, go_on)
        except ContextTooLarge:
            if text_bytes > room.decoded_bytes:
                raise
    if made.held == "memory" and max(text_bytes, byte_count) > room.decoded_bytes:
        made.close()
        raise room.too_large(byte_count, "it was given in the call")
    if made.descriptor is None:
        made.data = text.encode("utf-8", "surrogatepass")
    return made


def facts_of(text: str) -> Facts:
    """What the client is told of a text."""
    lines = text.count("\n") + (1 if text and not text.endswith("\n") else 0)
    return Facts(len(text), lines, text[:EDGE_CHARS], text[-EDGE_CHARS:])


def written(text: str, spool: Spool, codec: str = "utf-8", go_on: GoOn = lambda: None) -> Spooled:
    """A file that holds a text. Raises: ContextTooLarge: there is no room for it."""
    file, size = spool.make(), 0
    with ExitStack() as opened:
        opened.callback(file.release)
        for piece in _pieces(text):
            go_on()
            data = piece.encode(codec, "surrogatepass")
            if size + len(data) > spool.left_bytes:
                raise spool.too_large(size + len(data))
            try:
                write_at(file.writer, data, size)
            except OSError as error:
                raise unwritten(error.errno or 0) from error
            size += len(data)
        file.seal(size)
        opened.pop_all()
    return file


def _by_file(made: Payload, text: str, layout: Layout, spool: Spool, go_on: GoOn) -> None:
    room = made.room
    assert room is not None
    text_bytes = len(text) * WIDTHS[layout]
    is_mapped = room.in_memory_bytes < text_bytes <= room.mapped_bytes
    if not is_mapped and max(text_bytes, made.byte_count) > room.decoded_bytes:
        return
    file = written(text, spool, CODECS[layout] if is_mapped else "utf-8", go_on)
    made.file, made.descriptor = file, file.reader
    if is_mapped and not lies_in_memory(file.reader):
        made.held, made.layout, made.laid_chars = "spooled", layout, (len(text),)
        made.lines = made.facts.lines if made.facts else None
    elif is_mapped:  # on a disk of memory: it is decoded, out of what is there
        made.layout, made.laid_chars = layout, (len(text),)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def json_payload(text: str, name: str, room: Room, loaders: Loaders | None, go_on: GoOn = lambda: None) -> Payload:
    """The payload of a JSON text: its value in a file, or the text for its kernel to parse where there are no loaders.

    Raises:
        InvalidInput: it is not JSON, or nothing that can be parsed.
        ContextTooLarge: there is no room for it, or for its value.
        ContextDenied: the loader failed.
        KernelStartFailed, SandboxUnavailable: no loader can be had.
    """
    made = inline_payload(text, name, room, None, go_on)  # of the limits, and what is known of the text
    made.kind = "json"
    if loaders is None:
        return made
    file_bytes = min(loaders.spool.left_bytes, loaders.value_mb * MB)
    with loaders.process(made.byte_count, -(-file_bytes // MB), go_on, loaders.value_mb) as process:
        if process is not None:
            client = LoaderClient(process, go_on, made.byte_count)
            _take_value(made, text, client, loaders, go_on)
    return made


def _take_value(made: Payload, text: str, client: LoaderClient, loaders: Loaders, go_on: GoOn) -> None:
    spool = loaders.spool
    with ExitStack() as opened:
        source = written(text, spool, go_on=go_on)
        opened.callback(source.release)
        value = spool.make()
        undo = opened.enter_context(ExitStack())
        undo.callback(value.release)
        size = client.value(source.reader, value.writer, loaders.value_mb * MB)
        client.end()  # nobody writes to it any more
        if isinstance(size, ValueRefused):
            raise _refusal(size, made.byte_count, loaders.value_mb)
        value.seal(size)
        undo.pop_all()
        made.data, made.file, made.descriptor = None, value, value.reader
        made.value_bytes = made.text_bytes = size


def _refusal(found: ValueRefused, byte_count: int, value_mb: int) -> RequestRefused:
    if found.reason == "memory":
        return ContextTooLarge(
            f"The value of json_text, which has {byte_count:,} bytes, needs more memory than the {value_mb:,} MB that "
            "a session may have (RLM_MEMORY_LIMIT_MB).",
            "Give less at once, or the JSON as text or by paths, or tell the user to raise RLM_MEMORY_LIMIT_MB.",
        )
    if found.reason == "no_room":
        return unwritten(found.errno)
    why = _WHY_NOT[found.reason].format(words=safe_text(found.words))
    return InvalidInput(f"json_text is not JSON that can be parsed: {why}.", "Correct it, or give it as text.")
