r"""Positions in the documents of a context, each as a byte, a character and a line of its document.

Is: what the host keeps of the documents for that as long as a session lives, in arrays, and the way from a byte or a
character to the rest, which reads at most about 64 KB of a document. Is not: where its bytes come from
(`session/evidence/documents.py`). Above: `payload.py`, the session. Below: `index.py`.

Bytes and characters are counted from 0, lines from 1; a line ends with its `\n`, as in grep.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.loader.blocks import Block
from rlm_kernel_mcp.context.loader.index import Changed, ReadAt, TextIndex, count_document
from rlm_kernel_mcp.context_wire import DocumentRow

COUNTED_MAX: Final = 64
"""How many documents that no loader has counted keep their counts. Others are counted again: they are small."""
_END: Final = b"\0"


class Place(NamedTuple):
    """Where a character of a document begins; after the last one, the document's end."""

    byte: int
    char: int
    line: int


class PlacesInBlock:
    """The positions in about 64 KB of a document, which were read once; each is counted from the one before."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._last = Place(block.byte, block.char, block.line)

    @cached_property
    def _end(self) -> int:
        return self._block.byte + self._block.width(0, len(self._block.text))

    def has_byte(self, byte: int) -> bool:
        """Whether this byte of the document lies in it, or ends it."""
        return self._block.byte <= byte <= self._end

    def has(self, char: int) -> bool:
        """Whether this character of the document lies in it, or ends it."""
        return self._block.char <= char <= self._block.char + len(self._block.text)

    def single(self, char: int, end: int) -> str | None:
        """Some characters, if all of them are here and each is one byte of the document."""
        block = self._block
        if not block.is_single or not self.has(char) or not self.has(end):
            return None
        return block.text[char - block.char : end - block.char]

    def at_char(self, char: int) -> Place:
        """The position of a character. Raises: Changed: it is no longer there."""
        if not self.has(char):
            raise Changed("a character is no longer there")
        last, block = self._last, self._block
        first, end, sign = last.char - block.char, char - block.char, 1
        if end < first:
            first, end, sign = end, first, -1
        width, line_ends = block.width(first, end), self._line_ends(first, end)
        self._last = Place(last.byte + sign * width, char, last.line + sign * line_ends)
        return self._last

    def _line_ends(self, first: int, end: int) -> int:
        raw = self._raw
        return self._block.text.count("\n", first, end) if raw is None else raw.count(b"\n", first, end)

    @cached_property
    def _raw(self) -> bytes | None:
        """Its bytes, if each is a character: they are counted in half the time."""
        return self._block.text.encode("latin-1") if self._block.is_single else None

    def at_byte(self, byte: int) -> Place:
        """The position of the character that has a byte; a byte order mark belongs to the first. Raises: Changed."""
        block, left = self._block, byte - self._block.byte
        low, high = 0, len(block.text)
        while low < high:  # bisection: each half is counted once
            middle = (low + high + 1) // 2
            size = block.width(low, middle)
            if size > left:
                high = middle - 1
            else:
                low, left = middle, left - size
        if left > 0 and low == len(block.text):
            raise Changed("a byte is no longer there")
        return self.at_char(block.char + low)


class Places:
    """The positions in one context. Thread-safe."""

    def __init__(
        self,
        documents: Iterable[tuple[DocumentRow, str]],
        index: TextIndex | None,
        base: str,
        name_start: int,
        chars: Iterable[int] | None = None,
    ) -> None:
        """Keep what is known of the documents, each with the path of its file.

        Args:
            documents: with their own sizes and encodings, even if their text was spooled in another width.
            index: of all of them, if a loader has counted them; otherwise each is counted when it is first needed.
            base: what most paths begin with; the rest of such a path is the document's name.
            name_start: length of the prefix of the names that is not part of the path.
            chars: of each document, if they have been counted.
        """
        pairs = list(documents)
        rows = [row for row, _ in pairs]
        self._base, self._name_start = base, name_start
        self._paths = {n: path for n, (row, path) in enumerate(pairs) if path != self._usual_path(row[0])}
        # A single text: a set of 200,000 names would take ten times as much memory.
        self._names = _END + b"".join(_bytes_of(name) + _END for name, *_ in rows)
        self._index = index
        self.starts = None if chars is None else array("Q", accumulate(chars, initial=0))
        """Where each document begins, and the last one ends, in characters of the context; None: nobody knows."""
        self._sizes = array("Q", (size for _, size, *_ in rows))
        self._kinds = list({(encoding, errors): None for *_, encoding, errors in rows})
        kinds = {kind: number for number, kind in enumerate(self._kinds)}
        # Pairs of encoding and error handler are few, so two bytes a document are enough.
        self._kind = array("H", (kinds[encoding, errors] for *_, encoding, errors in rows))
        self._counted: OrderedDict[int, TextIndex] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def is_counted(self) -> bool:
        """Whether a loader has counted them, so that no place in any of them takes more than a block to find."""
        return self._index is not None

    @property
    def names(self) -> list[str]:
        """Of all documents, in order."""
        return [one.decode("utf-8", "surrogatepass") for one in self._names.split(_END)[1:-1]]

    def size(self, number: int) -> int:
        """Bytes of a document."""
        return self._sizes[number]

    def codec(self, number: int) -> tuple[str, str]:
        """A document's encoding, and how what does not decode is kept."""
        return self._kinds[self._kind[number]]

    def number(self, name: str) -> int:
        """The number of the document with this name. Raises: KeyError."""
        if "\0" in name:  # that is where one name ends: it would be two
            raise KeyError(name)
        at = self._names.find(_END + _bytes_of(name) + _END)
        if at < 0:
            raise KeyError(name)
        return self._names.count(_END, 0, at)

    def path_of(self, number: int, name: str) -> str:
        """The path of the file of a document, by its number and its name; empty if it has none."""
        return self._paths.get(number, self._usual_path(name))

    def _usual_path(self, name: str) -> str:
        return self._base + name[self._name_start :]

    def in_block(self, number: int, char: int, read: ReadAt) -> PlacesInBlock:
        """The positions beside a document's character. `read` reads the document's own bytes.

        Raises:
            IndexError: it has no such position. Changed: its bytes are not those that were counted.
        """
        with self._index_of(number, read) as (index, own, of_source):
            return PlacesInBlock(index.block_of_char(own, char, of_source))

    def in_block_of_byte(self, number: int, byte: int, read: ReadAt) -> PlacesInBlock:
        """The same beside the character that a document's byte belongs to."""
        with self._index_of(number, read) as (index, own, of_source):
            return PlacesInBlock(index.block_of_byte(own, byte, of_source))

    def chars(self, number: int, read: ReadAt) -> int:
        """How many characters a document has. Raises: Changed."""
        with self._index_of(number, read) as (index, own, _):
            return index.char_counts[own]

    @contextmanager
    def _index_of(self, number: int, read: ReadAt) -> Iterator[tuple[TextIndex, int, ReadAt]]:
        """An index that covers the document, the document's number in it, and what it reads with."""
        try:
            if self._index is not None:
                start = self._index.start(number)
                yield self._index, number, lambda offset, size: read(offset - start, size)
            else:
                yield self._index_of_one(number, read), 0, read
        except UnicodeError as error:
            raise Changed("the document is no longer what it was") from error

    def _index_of_one(self, number: int, read: ReadAt) -> TextIndex:
        with self._lock:
            found = self._counted.pop(number, None)
        if found is None:
            one, rows = count_document(self._sizes[number], *self._kinds[self._kind[number]], read)
            found = TextIndex([one], rows)
        with self._lock:
            self._counted[number] = found
            if len(self._counted) > COUNTED_MAX:
                self._counted.popitem(last=False)
        return found


def _bytes_of(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
