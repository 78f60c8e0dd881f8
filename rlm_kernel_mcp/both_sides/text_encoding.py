"""Encodings, and lines. Sans-I/O.

Is: telling a document's encoding from its bytes, block by block, for the host and for the loader process. Is not:
reading files, nor decoding for a kernel, which decodes for itself. Above: `context/reading.py`,
`in_kernel/loader/document.py`. Below: the standard library.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final, Literal

SNIFF_BYTES: Final = 65_536
"""A NUL within this many first bytes marks a binary file, unless a UTF-16 or UTF-32 mark explains it."""

AS_SURROGATES: Final = "bytes-as-surrogates"
"""A codec's `errors`, to decode with in every process that imports this module."""

BINARY: Final = "binary"
"""What `EncodingDetector.finish` says of bytes that are not text."""

_FORMATS: Final = (
    ("gzip", rb"\x1f\x8b\x08"),
    ("bzip2", rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
    ("xz", rb"\xfd7zXZ\0"),
    ("zstd", rb"\x28\xb5\x2f\xfd"),
    ("lzma", rb"(?s)\x5d\0\0.{10}"),
    ("zip", rb"PK(?:\x03\x04|\x05\x06)"),
    ("tar", rb"(?s).{257}ustar"),
    ("pdf", rb"%PDF-\d"),
    ("elf", rb"\x7fELF"),
    ("sqlite", rb"SQLite format 3\0"),
    ("image", rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a"),
    ("utf-16-le", rb"(?:[\t\n\r -~]\0){4,}\Z|(?:[\t\n\r -~]\0){32}"),
    ("utf-16-be", rb"(?:\0[\t\n\r -~]){4,}\Z|(?:\0[\t\n\r -~]){32}"),
)
"""What documents that are no text in any encoding told here begin with. One is a text in UTF-16 without a mark, as far
as it can be told: by ASCII characters at its beginning."""
NUL, CODE_PAGE, NOT_PACKED = "nul", "code page", "not packed"
LOOKS: Final = ("", NUL, CODE_PAGE, NOT_PACKED, *(name for name, _ in _FORMATS))
"""What `EncodingDetector.looks` says: nothing; that a text has a NUL; that latin-1 has the bytes 128 to 159, which no
text in latin-1 has and many in another code page of one byte do; that its name alone is a compressed file's (which a
loader says); or what it begins as."""
_BEGIN_BYTES: Final = 262
_NOT_IN_LATIN_1: Final = rb"[\x80-\x9f]"

# UTF-32's little-endian mark begins with UTF-16's: the longer ones come first.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_MARK: Final = 4


_BARE_BYTES: Final = (chr(0xE9) * 2).__sizeof__() - 3
"""Of a text that nobody has looked at: a literal, or a single letter, may have its UTF-8 in its size."""
_SHORT_CHARS: Final = 64


def char_width(text: str) -> Literal[0, 1, 2, 4]:
    """Bytes that each character of a text needs; 0: one, and none is above 127.

    The interpreter has chosen the narrowest already, and its size tells which: of a fresh slice, since the size of a
    text that C code has looked at as UTF-8 has that in it as well.
    """
    if text.isascii():
        return 0
    width = 1
    if len(text) > _SHORT_CHARS:
        width = (text[_SHORT_CHARS // 2 :].__sizeof__() - _BARE_BYTES) // (len(text) - _SHORT_CHARS // 2 + 1)
    widest = max(text[:_SHORT_CHARS])
    return 4 if width == 4 or widest > "\uffff" else 2 if width == 2 or widest > "\xff" else 1


class EncodingDetector:
    """Finds the encoding of one document: its byte order mark's, else UTF-8, else latin-1.

    A few bytes that do not decode make no latin-1 of a whole document: they are counted (`undecodable_bytes`), and
    decode with `errors_of` to something from which they can be told. Latin-1 gives each byte a character.
    """

    def __init__(self, *, takes_nul: bool = False) -> None:
        """`takes_nul`: a NUL makes nothing binary: the user wants this very file."""
        self._takes_nul = takes_nul
        self._begin_bytes = b""
        self._has_code_page = False
        self.undecodable_bytes = 0
        """Complete after `finish`; 0 where it answers latin-1."""
        self.text: str | None = None
        """What the block that was fed last has completed; None where its own bytes, ASCII, are the characters."""
        self._start = b""
        self._seen_bytes = 0
        self._decoded_chars = 0
        self._torn_bytes = 0
        """Of a character that the end of the document cuts off."""
        self._has_early_nul = False
        self._encoding = "utf-8"
        self._decoder: codecs.IncrementalDecoder | None = None
        self._is_latin_1 = False

    @property
    def layout(self) -> Literal["ascii", "latin-1"] | None:
        """Of a text in which each byte is a character, as far as it has been seen; None: it has to be decoded."""
        if self._encoding != "utf-8":
            return None
        if self._decoded_chars == self._seen_bytes:
            return "ascii"
        return "latin-1" if self._is_latin_1 or not self._is_what_it_seems() else None

    @property
    def chars(self) -> int:
        """How many characters the document has. Complete after `finish`."""
        return self._seen_bytes if self._is_latin_1 else self._decoded_chars + self.undecodable_bytes

    @property
    def is_binary(self) -> bool:
        """True as soon as no further byte can make a text of this document."""
        return self._has_early_nul and not self._takes_nul and self._encoding in ("utf-8", "utf-8-sig")

    @property
    def looks(self) -> str:
        """One of `LOOKS`: what whoever wants a text of it is to know. Complete after `finish`."""
        if not (self._has_early_nul or self._is_latin_1):
            return ""
        if self._encoding in ("utf-16", "utf-32") and not self._is_latin_1:
            return ""
        if found := next((name for name, begin in _FORMATS if re.match(begin, self._begin_bytes)), ""):
            return found
        return NUL if self._has_early_nul else CODE_PAGE if self._has_code_page else ""

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the document."""
        if self._seen_bytes < _BEGIN_BYTES:
            self._begin_bytes += block[: _BEGIN_BYTES - self._seen_bytes]
        if self._seen_bytes < SNIFF_BYTES:
            self._has_early_nul |= block.find(0, 0, SNIFF_BYTES - self._seen_bytes) >= 0
        self._seen_bytes += len(block)
        if self._decoder is None:
            # A mark may be cut in two by the block's end: wait until the longest would be there.
            self._start += block
            if len(self._start) < _LONGEST_MARK:
                self.text = ""
                return
            block, self._start = self._start, b""
            self._begin(block)
        self._decode(block)

    def finish(self) -> str:
        """The codec's name (`utf-8`, `utf-8-sig`, `utf-16`, `utf-32`, `latin-1`), or `BINARY`; `text`: the rest."""
        if self._decoder is None:
            self._begin(self._start)
            self._decode(self._start)
            begun = self._start.decode("ascii") if self.text is None else self.text
        else:
            begun = ""
        self._torn_bytes = len(self._decoder.getstate()[0]) if self._decoder is not None else 0
        self._decode(b"", final=True)
        self.text = begun + (self.text or "")
        if self.is_binary:
            return BINARY
        if self._is_what_it_seems():
            return self._encoding
        self._is_latin_1, self.undecodable_bytes = True, 0
        return BINARY if self._has_early_nul and not self._takes_nul else "latin-1"

    def _is_what_it_seems(self) -> bool:
        bad = self.undecodable_bytes
        if self._encoding in ("utf-16", "utf-32"):
            # A file that was cut off, or got a line end of one byte, is the text that it is before that.
            return (bad - self._torn_bytes) * 20 <= self._seen_bytes and bool(self._decoded_chars or not bad)
        # Sequences of several bytes that decode are hardly ever chance: UTF-8 with a line of something else.
        continuation_bytes = self._seen_bytes - bad - self._decoded_chars
        return bad * 1_000 <= self._seen_bytes or continuation_bytes >= bad

    def _begin(self, start: bytes) -> None:
        self._encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        self._decoder = codecs.getincrementaldecoder(self._encoding)()

    def _decode(self, block: bytes, *, final: bool = False) -> None:
        decoder = self._decoder
        assert decoder is not None
        # ASCII inside UTF-8 needs no decoding; it is told ten times faster, if no character is half read.
        if self._encoding == "utf-8" and not final and block.isascii() and not decoder.getstate()[0]:
            self._decoded_chars += len(block)
            self.text = None
            return
        state = decoder.getstate()
        try:
            self.text = decoder.decode(block, final)
            self._decoded_chars += len(self.text)
        except UnicodeDecodeError:
            decoder.setstate(state)
            self._count_undecodable(decoder, block, final=final)

    def _count_undecodable(self, decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool) -> None:
        """Decode a block that holds bytes which do not: by how much a text with them is longer than one without."""
        self._has_code_page = self._has_code_page or re.search(_NOT_IN_LATIN_1, block) is not None
        state, lengths = decoder.getstate(), []
        for errors in ("ignore", errors_of(self._encoding)):
            decoder.setstate(state)
            decoder.errors = errors
            self.text = decoder.decode(block, final)
            lengths.append(len(self.text))
        decoder.errors = "strict"
        kept, with_them = lengths
        self._decoded_chars += kept
        self.undecodable_bytes += with_them - kept


def errors_of(encoding: str) -> str:
    r"""How bytes that do not decode are kept: each as a lone surrogate, U+DC00 and its value, so `\udcff` for 255.

    `surrogateescape` does this for bytes above 127, of which `encode` makes bytes again. In UTF-16 and UTF-32 others do
    not decode either (`AS_SURROGATES`); there a lone surrogate stands for nothing else.
    """
    return AS_SURROGATES if encoding in ("utf-16", "utf-32") else "surrogateescape"


def _as_surrogates(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(AS_SURROGATES, _as_surrogates)


@dataclass(slots=True)
class LineCount:
    """Counts the lines of what each byte is a character of."""

    ends: int = 0
    is_open: bool = False

    def feed(self, block: bytes) -> None:
        """Take the next bytes, of which there are some."""
        self.ends += block.count(b"\n")
        self.is_open = not block.endswith(b"\n")

    def copy(self) -> LineCount:
        """The same, by itself."""
        return LineCount(self.ends, self.is_open)

    @property
    def count(self) -> int:
        """Lines, the last one too where nothing ends it."""
        return self.ends + self.is_open
