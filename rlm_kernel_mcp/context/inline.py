"""Turns a text from the client itself into a payload: in a message, or in a file of the server's own.

Is: which of the two, how the text is held, and what is known of it; and having a loader parse a JSON text. Is not:
parsing JSON, which only a loader does. Above: the session, in a worker thread. Below: `payload.py`, `held.py`,
`context/loader/`.

A small text goes in a message. A larger one would be in memory several times that way, here and in its kernel, so it is
written to a file without a name, which the kernel decodes, or maps if its memory is not to hold the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import char_width
from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import Room, lies_in_memory
from rlm_kernel_mcp.context.loader.answers import ValueRefused
from rlm_kernel_mcp.context.loader.client import LoaderClient, write_failed
from rlm_kernel_mcp.context.loader.loaders import CancelCheck, Loaders
from rlm_kernel_mcp.context.loader.spool import Spool, Spooled
from rlm_kernel_mcp.context.loader.text_file import TextFile
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.payload import Facts, Payload
from rlm_kernel_mcp.context_wire import CODECS, WIDTHS, Layout
from rlm_kernel_mcp.errors import ContextNotFound, ContextTooLarge, InvalidInput, RequestRefused
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.wire import EDGE_CHARS

BY_FILE_BYTES: Final = 8 * MB
"""From this size on a text goes to its kernel in a file."""
PIECE_CHARS: Final = 1 << 20
_WHY_NOT: Final = {
    "syntax": "{words}",
    "digits": "it has an integer of more than 4,300 digits",
    "deep": "it is nested too deeply to be parsed, more than about 1,000 levels",
}
_LAYOUTS: Final[dict[int, Layout]] = {0: "ascii", 1: "latin-1", 2: "ucs2", 4: "ucs4"}


def inline_payload(
    text: str, name: str, room: Room, spool: Spool | None = None, check_cancelled: CancelCheck = lambda: None
) -> Payload:
    """The payload of a text, which stays exactly as it is: a lone surrogate is encoded as three bytes.

    `spool`: where it may be written; None if nowhere.

    Raises:
        ContextTooLarge: there is no room for it in memory or on disk.
    """
    digest, byte_count, width = hashlib.sha256(), 0, 0
    for piece in _pieces(text):
        check_cancelled()
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
            _by_file(made, text, layout, spool, check_cancelled)
        except ContextTooLarge:
            if text_bytes > room.decoded_bytes:
                raise
    if made.held == "memory" and max(text_bytes, byte_count) > room.decoded_bytes:
        made.close()
        raise room.too_large(byte_count, "it was given in the call")
    if made.descriptor is None:
        made.data = text.encode("utf-8", "surrogatepass")
    return made


def payload_in_file(text: TextFile, name: str, room: Room) -> Payload:
    """The payload of a text that lies in a file of the server's own, from which its kernel decodes it.

    Raises:
        ContextTooLarge: there is no room for it in memory. ContextNotFound: the file is gone.
    """
    width = WIDTHS[_LAYOUTS[text.width]]
    text_bytes = text.chars * width
    if text.byte_count * width > room.decoded_bytes:  # so much the decoder takes: it does not know how many come
        raise room.too_large(text.byte_count, "it was given by the code of another session")
    if not text.keep():
        raise ContextNotFound("the session for which the text was kept has ended")
    document = Document(name, text.byte_count, "utf-8", errors="surrogatepass")
    facts = Facts(text.chars, text.lines, text.head, text.tail)
    file = text.file
    made = Payload("text", (document,), text.byte_count, text.sha256, None, file.reader, Skipped(), facts=facts)
    made.room, made.text_bytes, made.file = room, text_bytes, file
    return made


def facts_of(text: str) -> Facts:
    """What is reported to the client about a text."""
    lines = text.count("\n") + (1 if text and not text.endswith("\n") else 0)
    return Facts(len(text), lines, text[:EDGE_CHARS], text[-EDGE_CHARS:])


def written(text: str, spool: Spool, codec: str = "utf-8", check_cancelled: CancelCheck = lambda: None) -> Spooled:
    """Write a text to a new file of the spool. Raises: ContextTooLarge: there is no room for it."""
    file, size = spool.make(), 0
    with ExitStack() as opened:
        opened.callback(file.release)
        for piece in _pieces(text):
            check_cancelled()
            data = piece.encode(codec, "surrogatepass")
            spool.charge(file, size + len(data))
            try:
                write_at(file.writer, data, size)
            except OSError as error:
                raise write_failed(error.errno or 0) from error
            size += len(data)
        file.seal(size)
        opened.pop_all()
    return file


def _by_file(made: Payload, text: str, layout: Layout, spool: Spool, check_cancelled: CancelCheck) -> None:
    room = made.room
    assert room is not None
    text_bytes = len(text) * WIDTHS[layout]
    is_mapped = room.in_memory_bytes < text_bytes <= room.mapped_bytes
    if not is_mapped and max(text_bytes, made.byte_count) > room.decoded_bytes:
        return
    file = written(text, spool, CODECS[layout] if is_mapped else "utf-8", check_cancelled)
    made.file, made.descriptor = file, file.reader
    if is_mapped and not lies_in_memory(file.reader):
        made.held, made.layout, made.char_counts = "spooled", layout, (len(text),)
        made.lines = made.facts.lines if made.facts else None
    elif is_mapped:  # the spool is on a file system in memory: the kernel decodes the text from there
        made.layout, made.char_counts = layout, (len(text),)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def json_payload(
    text: str, name: str, room: Room, loaders: Loaders | None, check_cancelled: CancelCheck = lambda: None
) -> Payload:
    """The payload of a JSON text: its value in a file; or, without loaders, the text for its kernel to parse.

    Raises:
        InvalidInput: it is not JSON, or it cannot be parsed.
        ContextTooLarge: there is no room for it, or for its value.
        ContextDenied: the loader failed.
        KernelStartFailed, SandboxUnavailable: no loader can be started.
    """
    made = inline_payload(text, name, room, None, check_cancelled)  # checks the limits, and describes the text
    made.kind = "json"
    if loaders is None:
        return made
    file_bytes = min(loaders.spool.left_bytes, loaders.value_mb * MB)
    with loaders.process(made.byte_count, -(-file_bytes // MB), check_cancelled, loaders.value_mb) as process:
        if process is not None:
            client = LoaderClient(process, check_cancelled, made.byte_count)
            _take_value(made, text, client, loaders, check_cancelled)
    return made


def _take_value(made: Payload, text: str, client: LoaderClient, loaders: Loaders, check_cancelled: CancelCheck) -> None:
    spool = loaders.spool
    with ExitStack() as opened:
        source = written(text, spool, check_cancelled=check_cancelled)
        opened.callback(source.release)
        value = spool.make()
        client.writes.append(value)
        undo = opened.enter_context(ExitStack())
        undo.callback(value.release)
        size = client.value(source.reader, value.writer, loaders.value_mb * MB)
        client.end()  # from now on nobody can write to the value's file
        if isinstance(size, ValueRefused):
            raise _refusal(size, made.byte_count, loaders.value_mb)
        value.seal(size)
        undo.pop_all()
        made.data, made.file, made.descriptor = None, value, value.reader
        made.value_bytes = made.text_bytes = size


def _refusal(found: ValueRefused, byte_count: int, value_mb: int) -> RequestRefused:
    if found.reason == "memory":
        return ContextTooLarge(
            f"The value of json_text, which has {byte_count:,} bytes, takes more memory than the {value_mb:,} MB that "
            "a session may have (RLM_MEMORY_LIMIT_MB).",
            "Give less at once, or give the JSON as text or by paths, or tell the user to raise RLM_MEMORY_LIMIT_MB.",
        )
    if found.reason == "no_room":
        return write_failed(found.errno)
    why = _WHY_NOT[found.reason].format(words=safe_text(found.words))
    return InvalidInput(f"json_text cannot be parsed as JSON: {why}.", "Correct it, or give it as text.")
