"""What a document seems to be where it is no text, or none in the encoding that it is loaded in, and what helps then.

Is: the wording, in which a document's name cannot act as markdown. Is not: finding it out (`text_encoding.py`). Above:
`reading.py`, `refusals.py`, `session/kernels/context_loading.py`. Below: `documents.py`,
`context/loader/compressed.py`, `text/markup.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import CODE_PAGE, NOT_PACKED, NUL
from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.loader.compressed import ENDS, form_of
from rlm_kernel_mcp.text.markup import code, word
from rlm_kernel_mcp.text.wording import counted

HINTS_MAX: Final = 5
NAME_CHARS: Final = 200
_WHAT: Final = {
    "lzma": ("lzma data", "unpack it (unlzma), or compress it with xz"),
    "zip": ("a zip archive, or a format made of one (docx, xlsx, jar)", "unpack it, and give the directory"),
    "tar": ("a tar archive", "unpack it (tar -xf), and give the directory"),
    "pdf": ("a PDF", "make a text of it (pdftotext), and give that"),
    "elf": ("a program", ""),
    "sqlite": ("an SQLite database", "give a dump of it (sqlite3 FILE .dump)"),
    "image": ("a picture", ""),
    "utf-16-le": ("UTF-16 (little-endian) without a byte order mark", ""),
    "utf-16-be": ("UTF-16 (big-endian) without a byte order mark", ""),
}
_BY_CODEC: Final = frozenset({"utf-16-le", "utf-16-be"})


def binary(looks: str) -> str:
    """Why a file is left out that is binary, in a few words. `looks`: one of `text_encoding.LOOKS`."""
    what = f"{looks} data without a name in {ENDS[looks]}" if looks in ENDS else _WHAT.get(looks, ("",))[0]
    return f"binary; it looks like {what}" if what else "binary"


def hints(documents: Iterable[Document]) -> list[str]:
    """What to know of the first documents that are not what they are loaded as; the rest as a number."""
    found: list[str] = []
    more = 0
    for one in documents:
        if (hint := _hint(one)) and len(found) < HINTS_MAX:
            found.append(hint)
        elif hint:
            more += 1
    return [*found, f"The same holds for {counted(more, 'more document')}, or the like."] if more else found


def _hint(document: Document) -> str:
    looks, name = document.looks, document.name
    if not looks:
        return ""
    shown = word(name if len(name) <= NAME_CHARS else name[:NAME_CHARS] + "\u2026")
    if looks == NOT_PACKED:
        return f"{shown} does not hold {form_of(document.path or name)} data, despite its name; it was loaded as it is."
    if looks == CODE_PAGE:
        return (
            f"{shown} has bytes that are control characters in latin-1, so it may be in another code page: "
            f"{_decoded(document, 'cp1252')} is its text if it is in Windows-1252."
        )
    if looks == NUL:
        return f"{shown} has NUL characters, and may not be text."
    if looks in ENDS:
        return (
            f"{shown} looks like {looks} data; it was loaded as it is, since its name does not end in "
            f"{ENDS[looks]}: give a copy with that name, and it is unpacked."
        )
    what, way_out = _WHAT[looks]
    if looks in _BY_CODEC:
        way_out = f"{_decoded(document, looks)} is the text"
    return f"{shown} looks like {what}{f'; {way_out}' if way_out else ''}."


def _decoded(document: Document, codec: str) -> str:
    """What gives its text in a step. A long name is not in it: those of five hints would take 100 KB."""
    name = document.name
    key, more = (repr(name), "") if len(name) <= NAME_CHARS else ("name", " (name: as list(documents) has it)")
    errors = "" if document.encoding == "latin-1" else ", 'surrogateescape'"
    decode = f"documents[{key}].encode('{document.encoding}'{errors}).decode('{codec}')"
    return f"{decode if word(name) == name else code(decode)}{more}"
