"""A value's text, of bounded length and in bounded time, with none of the value's own code run.

Is: the bounded writer, and JSON text where the value is JSON without loss. Is not: the text of everything else, which
is `object_text.py`'s. It runs in the control thread while the step that owns the value may be changing it.
Above: `object_text.py`, `values.py`, `in_kernel/channels/display.py`. Below: `library_values.py`.
"""

from __future__ import annotations

import collections
import contextlib
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, Final, Protocol

from rlm_kernel_mcp.in_kernel.display_text.library_values import number

WORK_CHARS: Final = 2_000_000
"""Longest text that is made of one value; what lies past it is counted."""
CONTAINER_WORK: Final = 10
"""What writing one container counts for beside its characters, so that the time is bounded too."""
SHORT: Final = 1_000
"""A text up to this length is never cut for lack of room."""
DEPTH: Final = 50
"""Deepest nesting that is shown."""
BLOCK: Final = 256
"""Items that are copied at a time from a container that may change meanwhile."""
RETRIES: Final = 100
SAFE_INT: Final = 2**53 - 1
DECIMAL_DIGITS: Final = 40_000
DECIMAL_BITS: Final = int(DECIMAL_DIGITS / math.log10(2))
"""Integers up to this size are shown in decimal, if Python's own limit (4,300 digits) allows; it is slow in them."""
ORDERED_KEYS: Final = 100_000
"""Largest OrderedDict that is shown in the order of its `move_to_end`."""
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PLAIN_KEYS: Final = frozenset(map(id, (str, int, float, bool, bytes, type(None))))


class NotJson(Exception):
    """The value is not JSON without loss."""


class TextBuilder:
    """A text under way: its parts, and how many characters it may still take."""

    comma = ", "
    colon = ": "

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.left = WORK_CHARS
        self.whole = True
        """Whether nothing was left out for want of room."""
        self._path: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether the text has its full length; what is left is then only counted."""
        return self.left <= 0

    def put(self, text: str) -> None:
        """Append a short text."""
        self.parts.append(text)
        self.left -= len(text)

    def text(self) -> str:
        """The whole text."""
        return "".join(self.parts)

    def enter(self, value: object) -> bool:
        """Note that a container is being written; false if it is inside itself, or too deep."""
        # By identity: `in` on the values themselves would call their `__eq__`.
        if id(value) in self._path or len(self._path) >= DEPTH:
            return False
        self._path.add(id(value))
        self.left -= CONTAINER_WORK
        return True

    def leave(self, value: object) -> None:
        """The container is written."""
        self._path.discard(id(value))

    def items(self, items: Iterable[Any], count: Callable[[], int], write: Callable[[Any], None]) -> None:
        """Write items with commas between them, up to the full length, and how many more there are."""
        done = 0
        for item in items:
            if done:
                self.put(self.comma)
            if self.left <= 0:  # `full`, without a call for each of a million items
                break
            write(item)
            done += 1
        left = count() - done
        if self.full and left > 0:
            comma = self.comma if done and self.parts[-1] != self.comma else ""
            self.parts.append(f"{comma}… {left} more items")
            self.whole = False

    def cut(self, size: int, take: Callable[[int], str], unit: str) -> None:
        """Write a text or bytes object, as far as there is room; `take` makes the text of that many."""
        room = size if size <= SHORT else min(size, max(self.left, SHORT))
        self.put(take(room))
        if room < size:
            self.parts.append(f"… {size - room} more {unit}")
            self.whole = False


class TypeText(Protocol):
    """What a writer of one type writes with: `ObjectText`."""

    parts: list[str]
    whole: bool
    own: bool

    def put(self, text: str) -> None: ...
    def cut(self, size: int, take: Callable[[int], str], unit: str) -> None: ...
    def write(self, value: Any) -> None: ...
    def bracketed(self, value: Any, edges: tuple[str, str], items: Iterable[Any], count: Callable[[], int]) -> None: ...
    def mapping(self, value: Any, edges: tuple[str, str], pairs: Iterable[Any]) -> None: ...
    def named(self, value: Any, name: str, fields: Iterable[tuple[str, Any]], count: int) -> None: ...


def blocks(make_iterator: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The items of a container that the running step may be changing.

    They are copied block by block. When the container changes its size in between, reading goes on after as many items
    as have been read.
    """
    seen = failed = 0
    iterator = make_iterator()
    while True:
        try:
            block = list(islice(iterator, BLOCK))
        # "changed size during iteration": the step's thread has added or removed items since the last block.
        except RuntimeError:
            failed += 1
            if failed > RETRIES:
                return
            iterator = islice(make_iterator(), seen, None)
            continue
        yield from block
        seen += len(block)
        if len(block) < BLOCK:
            return


def list_blocks(value: list[Any]) -> Iterator[Any]:
    """The items of a list, which cannot fail but may grow or shrink meanwhile."""
    start = 0
    while block := list.__getitem__(value, slice(start, start + BLOCK)):
        yield from block
        start += BLOCK


def dict_pairs(value: Any) -> Iterable[Any]:
    """The items of a dict of any subclass, in its own order where asking for that runs no code of its keys."""
    ordered = type(value) is collections.OrderedDict and len(value) <= ORDERED_KEYS
    if ordered and all(id(type(key)) in _PLAIN_KEYS for key in blocks(lambda: dict.__iter__(value))):
        return blocks(lambda: iter(collections.OrderedDict.items(value)))
    return blocks(lambda: iter(dict.items(value)))


class JsonText(TextBuilder):
    """JSON text with `", "` and `": "`; raises `NotJson` for a value that JSON cannot hold without loss."""

    def write(self, value: Any) -> None:
        """Write a value of exactly a JSON type, a dict of `collections`, or a number of numpy."""
        writer = _JSON_WRITERS.get(id(type(value)))
        if writer is None:
            value = number(value)  # of numpy
            writer = _JSON_WRITERS.get(id(type(value)))
            if writer is None or value is None:
                raise NotJson
        writer(self, value)

    def write_int(self, value: int) -> None:
        """Only what every JSON reader reads back as the same number."""
        if not -SAFE_INT <= value <= SAFE_INT:
            raise NotJson
        self.put(int.__repr__(value))

    def write_float(self, value: float) -> None:
        """Only finite numbers."""
        if not math.isfinite(value):
            raise NotJson
        self.put(float.__repr__(value))

    def write_str(self, value: str) -> None:
        """A lone surrogate is escaped, so that the text is valid UTF-8."""
        self.cut(len(value), lambda room: json_string(value[:room]), "characters")

    def write_list(self, value: Any) -> None:
        """A list or a tuple."""
        if not self.enter(value):
            raise NotJson
        self.put("[")
        self.items(list_blocks(value) if type(value) is list else value, value.__len__, self.write)
        self.parts.append("]")
        self.leave(value)

    def write_dict(self, value: dict[Any, Any]) -> None:
        """A dict, `Counter`, `defaultdict` or `OrderedDict` whose keys are all of exactly the type str."""
        if not self.enter(value):
            raise NotJson
        self.put("{")
        self.items(dict_pairs(value), lambda: dict.__len__(value), self._pair)
        self.parts.append("}")
        self.leave(value)

    def _pair(self, pair: tuple[Any, Any]) -> None:
        key, value = pair
        if type(key) is not str:
            raise NotJson
        self.write_str(key)
        self.put(self.colon)
        self.write(value)


class CompactJsonText(JsonText):
    """JSON text without spaces."""

    comma = ","
    colon = ":"


_JSON_WRITERS: Final[dict[int, Callable[[JsonText, Any], None]]] = {
    id(type(None)): lambda text, _: text.put("null"),
    id(bool): lambda text, value: text.put("true" if value else "false"),
    id(int): JsonText.write_int,
    id(float): JsonText.write_float,
    id(str): JsonText.write_str,
    id(list): JsonText.write_list,
    id(tuple): JsonText.write_list,
    **dict.fromkeys(
        map(id, (dict, collections.Counter, collections.defaultdict, collections.OrderedDict)), JsonText.write_dict
    ),
}
"""By the identity of the type: its hash would be the metaclass's to compute."""


def json_text(value: Any, kind: type[JsonText] = JsonText) -> tuple[str, bool] | None:
    """A value's JSON text and whether it is whole; None if JSON cannot hold the value without loss."""
    text = kind()
    try:
        text.write(value)
    except NotJson:
        return None
    return text.text(), text.whole


def json_string(value: str) -> str:
    """A JSON string literal in which only what must be escaped is."""
    literal = encode_basestring(value)
    if not literal.isascii():
        try:
            literal.encode()
        except UnicodeEncodeError:
            return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", literal)
    return literal


def int_text(value: int) -> str:
    """An integer in decimal as far as Python itself writes it so; a larger one in hexadecimal, a giant's head alone."""
    number = int.__int__(value)
    bits = number.bit_length()
    if bits <= DECIMAL_BITS:
        with contextlib.suppress(ValueError):  # it has more digits than Python's limit
            return int.__repr__(number)
    sign = "-" if number < 0 else ""
    # Shifted before it is written: hexadecimal takes linear time, decimal quadratic (CVE-2020-10735).
    past = max(0, (bits + 3) // 4 - WORK_CHARS)
    head = f"{sign}{abs(number) >> 4 * past:#x}"
    return f"{head}… {past} more hexadecimal digits" if past else head


def not_decimal(value: int) -> str:
    """Why the text of an integer is hexadecimal, and what to do; empty where it is decimal."""
    bits = int.bit_length(value)
    most = min(sys.get_int_max_str_digits() or DECIMAL_DIGITS, DECIMAL_DIGITS)
    if bits * math.log10(2) < most - 1:
        return ""
    if bits <= DECIMAL_BITS:
        with contextlib.suppress(ValueError):
            int.__repr__(value)
            return ""
    digits = f"about {int(bits * math.log10(2)) + 1:,} decimal digits"
    return f" [{digits}, more than the {most:,} that are written: show n % 10**k or n // 10**k]"
