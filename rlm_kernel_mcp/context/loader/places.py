r"""Places in the documents of a context: each as a byte, a character and a line of its document.

Is: what the host keeps of the documents for that while a session lives, in arrays, and the step from one kind of place
to the others, which reads at most some 64 KB of a document. Is not: how its bytes are had
(`session/contexts/places.py`). Above: `payload.py`, the session. Below: `index.py`.

Bytes and characters begin at 0, lines at 1; a line ends with its `\n`, as for grep.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.context.loader.index import Changed, ReadAt, TextIndex, count_document
from rlm_kernel_mcp.context_wire import DocumentRow

COUNTED_MAX: Final = 64
"""Documents that no loader has counted whose counts are kept; others are counted again. They are small ones."""
_END: Final = b"\0"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a character of a document begins; behind the last one the document's end."""

    byte: int
    char: int
    line: int


class Places:
    """Those of one context. May be used in several threads."""

    def __init__(
        self, documents: Iterable[tuple[DocumentRow, str]], index: TextIndex | None, base: str, name_start: int
    ) -> None:
        """Keep what is known of documents, each with the path of its file.

        Args:
            documents: with their own sizes and encodings, and not those of what was written wider.
            index: of all of them, where a loader has counted them; else each is counted when it is asked for.
            base: what most paths begin with. The rest is then the name.
            name_start: from this character of it on.
        """
        pairs = list(documents)
        rows = [row for row, _ in pairs]
        self._base, self._name_start = base, name_start
        self._paths = {n: path for n, (row, path) in enumerate(pairs) if path != self._usual_path(row[0])}
        # One text: of 200,000 names a set would take ten times as much.
        self._names = _END + b"".join(_bytes_of(name) + _END for name, *_ in rows)
        self._index = index
        self._sizes = array("Q", (size for _, size, *_ in rows))
        self._kinds = list({(encoding, errors): None for *_, encoding, errors in rows})
        kinds = {kind: number for number, kind in enumerate(self._kinds)}
        self._kind = array("H", (kinds[encoding, errors] for *_, encoding, errors in rows))
        self._counted: OrderedDict[int, TextIndex] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sizes)

    def number(self, name: str) -> int:
        """Which of the documents has this name. Raises: KeyError."""
        at = self._names.find(_END + _bytes_of(name) + _END)
        if at < 0:
            raise KeyError(name)
        return self._names.count(_END, 0, at)

    def path(self, name: str) -> str:
        """Where the file of the document is that has this name; empty where it has none. Raises: KeyError."""
        return self._paths.get(self.number(name), self._usual_path(name))

    def _usual_path(self, name: str) -> str:
        return self._base + name[self._name_start :]

    def at_byte(self, number: int, byte: int, read: ReadAt) -> Place:
        """Of the character in which a document's `byte` lies. `read`: of the document's own bytes.

        Raises:
            IndexError: it has no such place. Changed: its bytes are not those that were counted.
        """
        with self._index_of(number, read) as (index, own, of_source):
            char = index.char_of_byte(own, byte, of_source)
            begin = index.byte_of_char(own, char, of_source)
            return Place(begin, char, index.line_of_byte(own, begin, of_source))

    def at_char(self, number: int, char: int, read: ReadAt) -> Place:
        """Of a document's character. Raises: as `at_byte`."""
        with self._index_of(number, read) as (index, own, of_source):
            begin = index.byte_of_char(own, char, of_source)
            return Place(begin, char, index.line_of_byte(own, begin, of_source))

    def at_line(self, number: int, line: int, read: ReadAt) -> Place:
        """Of the first character of a document's line. Raises: as `at_byte`."""
        with self._index_of(number, read) as (index, own, of_source):
            begin = index.byte_of_line(own, line, of_source)
            return Place(begin, index.char_of_byte(own, begin, of_source), line)

    @contextmanager
    def _index_of(self, number: int, read: ReadAt) -> Iterator[tuple[TextIndex, int, ReadAt]]:
        """An index that has the document, which of those in it that is, and how it reads."""
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
