"""Searches a stream for many texts in one pass, by a key of each: a few bytes that are rare in the stream.

Is: choosing keys by a sample, the Aho-Corasick pass over windows, and its bounds. Is not: where a text comes from
(`quotes.py`, `nearest.py`). Sans-I/O. Above: those. Below: ahocorasick_rs, `streams.py`.

Keys have one of a few lengths, so that no position of a stream matches more than that: the texts themselves may
overlap in any way, and a thousand of them in a file of a single letter would all match at every position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, Implementation

from rlm_kernel_mcp.session.evidence.streams import Window

PIECE_BYTES: Final = 64 << 10
"""Bytes searched at once: the result has up to one match per position and key length."""
KEY_BYTES: Final = (24, 12, 8, 6)
"""Lengths of keys; a text uses the first that fits."""
CANDIDATES: Final = 8
"""Positions in a text that are tried for its key."""
COMPARED_MAX: Final = 50_000
"""How often one text may be compared in vain; then it is given up, since nothing in it is rare."""

NUMBERED_BY: Final = 8 << 10
"""Bytes of each part of a sample by whose frequency bytes are numbered: letters are as frequent anywhere."""
TABLE_BYTES: Final = 24 << 20
"""Of an automaton that is one table: a row for each byte of the keys."""
FINDS_IN_VAIN: Final = 100_000
"""Matches of finished texts, after which the automaton is rebuilt without them."""


class Needle:
    """A text to look for."""

    __slots__ = ("at", "compared", "data", "is_done", "is_given_up", "owner", "size")

    def __init__(self, data: bytes, owner: int) -> None:
        """`data` has at least as many bytes as the shortest key; `owner` means something to the caller only."""
        self.data, self.owner = data, owner
        self.size = next((size for size in KEY_BYTES if size <= len(data)), len(data))
        self.at = 0
        """Where its key begins in it."""
        self.is_done = False
        """Set when enough matches were seen."""
        self.is_given_up = False
        self.compared = 0

    @property
    def key(self) -> bytes:
        """What the pass looks for."""
        return self.data[self.at : self.at + self.size]

    def candidates(self) -> list[int]:
        """Where its key may begin."""
        last = len(self.data) - self.size
        return sorted({last * n // (CANDIDATES - 1) for n in range(CANDIDATES)})


class Needles:
    """All texts of one pass."""

    def __init__(self, needles: Iterable[Needle], sample: Sequence[bytes] = (), keys_alone: int = 0) -> None:
        """`sample`: parts of the streams, by which keys are chosen. `keys_alone`: as for `search`."""
        self._needles, self._keys_alone = list(needles), keys_alone
        if sample:
            choose_keys(self._needles, sample)
        self._left_keys = 0
        """How many more may finish before the automaton is rebuilt without them."""
        self._left_finds = FINDS_IN_VAIN
        self._by_key: list[list[Needle]] = []
        self._automaton: BytesAhoCorasick | None = None
        self._longest_key = 0
        self.reach = max((len(one.data) for one in self._needles), default=1)
        """Bytes of the longest text."""
        self.codes: bytes | None = None
        """What stands for each byte in the texts and in the streams; None: the bytes themselves."""

    def renumber(self, sample: Sequence[bytes]) -> None:
        """Have streams give frequent bytes low numbers, which lie side by side in a row of the automaton's table.

        It takes a quarter less time with 2,000 texts; the streams are made by a `translate` anyway. Without white space
        texts never have all 256 bytes, so that 0 is left for the bytes that none of them has.
        """
        often = Counter(b"".join(data[:NUMBERED_BY] for data in sample))
        used = sorted(set(b"".join(one.data for one in self._needles)), key=lambda byte: -often[byte])
        codes = bytearray(256)
        for code, byte in enumerate(used, 1):
            codes[byte] = code
        self.codes = bytes(codes)
        for one in self._needles:
            one.data = one.data.translate(self.codes)

    def done(self, needle: Needle) -> None:
        """Stop looking for one."""
        needle.is_done = True
        self._left_keys -= 1

    def search(self, window: Window) -> Iterator[tuple[Needle, int, bool]]:
        """The texts that begin in a window, with their positions in the stream, and whether they are there as a whole.

        Of a text of which its key alone is there this is told as well, the first `keys_alone` times.
        """
        data, view = window.data, memoryview(window.data)
        for low in range(0, min(len(data), window.high + self.reach), PIECE_BYTES):
            if self._left_keys <= 0 or self._left_finds <= 0:
                self._build()
            if self._automaton is None:
                return
            size = min(PIECE_BYTES, len(data) - low)
            # A key may begin in this piece and end in the next one.
            part = view[low : low + size + self._longest_key - 1]
            for index, at, _ in self._automaton.find_matches_as_indexes(part, overlapping=True):
                if at < size:
                    yield from self._compared(self._by_key[index], data, low + at, window)

    def _compared(
        self, needles: list[Needle], data: bytes, at: int, window: Window
    ) -> Iterator[tuple[Needle, int, bool]]:
        for needle in needles:
            if needle.is_done:
                self._left_finds -= 1
                continue
            start = at - needle.at
            if not 0 <= start < window.high:  # the window before or the next one has all of it
                continue
            if data.startswith(needle.data, start):
                yield needle, window.base + start, True
            else:
                needle.compared += 1
                if needle.compared <= self._keys_alone:
                    yield needle, window.base + start, False
                if needle.compared > COMPARED_MAX:
                    needle.is_given_up = True
                    self.done(needle)

    def _build(self) -> None:
        by_key: dict[bytes, list[Needle]] = {}
        for needle in self._needles:
            if not needle.is_done:
                by_key.setdefault(needle.key, []).append(needle)
        self._by_key = list(by_key.values())
        self._longest_key = max(map(len, by_key), default=1)
        self._automaton = _automaton_of(list(by_key)) if by_key else None
        self._left_keys, self._left_finds = len(by_key) // 8 + 1, FINDS_IN_VAIN


def _automaton_of(keys: list[bytes]) -> BytesAhoCorasick:
    """As one table, where that has room: it takes two thirds of the time."""
    row = 4 << len(set(b"".join(keys))).bit_length()
    is_table = row * sum(map(len, keys)) <= TABLE_BYTES
    return BytesAhoCorasick(keys, implementation=Implementation.DFA if is_table else Implementation.ContiguousNFA)


def choose_keys(needles: Sequence[Needle], sample: Sequence[bytes]) -> None:
    """Choose for each text the candidate key that is rarest in a sample."""
    wanted = {needle.data[at : at + needle.size] for needle in needles for at in needle.candidates()}
    found = counts(wanted, sample)
    for needle in needles:
        # Of equally rare ones the last: keys of one part of a line do not keep the search busy in all of it.
        needle.at = min(reversed(needle.candidates()), key=lambda at: found[needle.data[at : at + needle.size]])


def counts(keys: Iterable[bytes], sample: Sequence[bytes]) -> Counter[bytes]:
    """How often each key occurs in a sample."""
    listed = list(keys)
    found = Counter[int]()
    if listed:
        automaton = BytesAhoCorasick(listed)
        for data in sample:
            for low in range(0, len(data), PIECE_BYTES):
                part = memoryview(data)[low : low + PIECE_BYTES]
                found.update(index for index, _, _ in automaton.find_matches_as_indexes(part, overlapping=True))
    return Counter({listed[index]: count for index, count in found.items()})
