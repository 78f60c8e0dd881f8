"""An exact `str` whose characters lie in a file that is mapped to be read: a context of any size, and no copy of it.

Is: such a text made of an open file, and the trial whether this Python can. Is not: its UTF-8 (`mapped_utf8.py`), nor a
wall or a courtesy: what keeps the file's place from being written to is `walls/window.py` with the filter. Above:
`preload.py` (the trial), `in_kernel/ipython/control.py`, `probe.py`. Below: `walls/window.py`, ctypes.

An instance of a class derived from `str` has its characters behind a pointer. That is set to the mapped file, with the
length and the hash; then the object's type is set to `str` itself. Such a text is never freed: its end would free the
file's place as if it were the heap's ([decision 0073](docs/decisions/0073-a-context-is-an-exact-str-over-a-file.md)).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from functools import cache
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.context_wire import Layout
from rlm_kernel_mcp.in_kernel.walls import window

TESTED: Final = ((3, 11), (3, 12), (3, 13))
"""Minor versions of CPython on which all of test_mapped_text.py has been seen to hold: no other maps a text."""
REFERENCES: Final = 16
"""That nobody gives back, and more than the two that `sys.intern` takes away."""
# PyASCIIObject: ob_refcnt, ob_type, length, hash, state; then PyCompactUnicodeObject and, last, the data pointer.
_TYPE, _LENGTH, _HASH, _COPIES, _POINTER = 1, 2, 3, 5, -1
"""Words of the object; the fourth is its state, and from `_COPIES` on there are copies of length and pointer."""
_WORDS: Final = ctypes.c_size_t * (str.__basicsize__ // ctypes.sizeof(ctypes.c_size_t))
_EDGE_BYTES: Final = 64


class CannotMap(ValueError):
    """No text can lie over this file here: it can only be decoded into memory."""


class _Form(NamedTuple):
    """How the characters of a text lie in memory, and 16 that C keeps so."""

    width: int
    codec: str
    probe: str


FORMS: Final[dict[Layout, _Form]] = {
    "ascii": _Form(1, "ascii", "sixteen chars OK"),
    "latin-1": _Form(1, "latin-1", "sixteen chars \xe9\xff"),
    "ucs2": _Form(2, "utf-16-le", "sixteen chars \u4e2d\ud800"),
    "ucs4": _Form(4, "utf-32-le", "sixteen chars \udc80\U0001f680"),
}


class _Pointing(str):
    __slots__ = ()


@cache
def why_not() -> str:
    """Why no text can lie over a file in this process; empty where it can. The first call tries it."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in TESTED or sys.abiflags:
        known = ", ".join(f"{major}.{minor}" for major, minor in TESTED)
        return f"it is tested on CPython {known} as released, and this is {sys.implementation.name} {sys.version}"
    page = mmap.mmap(-1, mmap.PAGESIZE)  # for ever, as the texts over it
    for place, (layout, form) in zip(range(0, mmap.PAGESIZE, 2 * _EDGE_BYTES), FORMS.items(), strict=False):
        raw, probe = form.probe.encode(form.codec, "surrogatepass"), form.probe
        page[place : place + len(raw)] = raw
        try:
            text = _text_at(ctypes.addressof(ctypes.c_char.from_buffer(page, place)), len(probe), layout)
        except CannotMap as error:
            return str(error)
        if type(text) is not str or (text, text[3:] + text, {text: 1}) != (probe, probe[3:] + probe, {probe: 1}):
            return f"a text over a mapped page is not what it should be ({layout}, Python {sys.version})"
    return ""


def map_text(descriptor: int, size: int, layout: Layout) -> str:
    """The text of an open file, read from there whenever it is read.

    Args:
        descriptor: may be closed afterwards. A file that is cut off ends the process by SIGBUS when what is gone is
            read; one that is written to changes the text.
        size: in bytes, above 0.
        layout: what lies in the file; C trusts it. `ascii` has no byte above 127, and each of the others a character
            that needs it; `ucs4` has none above U+10FFFF.

    Raises:
        CannotMap: this Python is not known to do it, there is no room in the window for files, or the file is no such.
    """
    form = FORMS[layout]
    if reason := why_not() or ("" if size > 0 and size % form.width == 0 else f"{size:,} bytes are no {layout} text"):
        raise CannotMap(reason)
    try:
        address = window.map_file(descriptor, size)
        # Read by another way than the mapping, so that a mistake in one of them shows.
        edges = [os.pread(descriptor, _EDGE_BYTES, offset) for offset in (0, max(0, size - _EDGE_BYTES))]
    except OSError as error:
        raise CannotMap(error.strerror or str(error)) from error
    text, chars = _text_at(address, size // form.width, layout), _EDGE_BYTES // form.width
    if edges != [edge.encode(form.codec, "surrogatepass") for edge in (text[:chars], text[-chars:])]:
        raise CannotMap("the text over the file is not what the file holds")
    return text


def _text_at(address: int, length: int, layout: Layout) -> str:
    form = FORMS[layout]
    text = _Pointing(form.probe)
    words: Any = _WORDS.from_address(id(text))
    raw, pointer, own_length = form.probe.encode(form.codec, "surrogatepass"), words[_POINTER], len(form.probe)
    if words[_TYPE : _LENGTH + 1] != [id(_Pointing), own_length] or ctypes.string_at(pointer, len(raw)) != raw:
        raise CannotMap("a str of this Python is laid out in a way that is not known")
    # The collector of garbage looks at what is of a class, by means that a str itself has not.
    ctypes.pythonapi.PyObject_GC_UnTrack(ctypes.py_object(text))
    for _ in range(REFERENCES):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(text))
    words[_COPIES:] = [{pointer: address, own_length: length}.get(word, word) for word in words[_COPIES:]]
    words[_LENGTH], words[_HASH] = length, ctypes.c_size_t(-1).value
    words[_TYPE] = id(str)
    return text
