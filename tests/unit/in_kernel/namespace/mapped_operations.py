"""A program that any Python runs: every operation on mapped texts, against ordinary ones with the same characters.

`python -I mapped_operations.py ROOT`: prints how many were compared; what differs is an error.
"""

from __future__ import annotations

import copy
import gc
import io
import json
import pickle
import random
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Final

sys.path.insert(0, sys.argv[1])

from rlm_kernel_mcp.context_wire import Layout
from rlm_kernel_mcp.in_kernel.namespace.mapped_text import FORMS, map_text, why_not
from rlm_kernel_mcp.in_kernel.walls import window

SIZES: Final = (1, 2, 7, 1023, 1024, 1025, 2048, 4094, 4095, 4096, 4097, 8192, 12_289)
"""In characters: round the border of a page in each width."""
LETTERS: Final = {
    "ascii": "ab \n\r\x00\x0b{ERROR=1x",
    "latin-1": "ab \n\xe9\xff\x85E\xb2",
    "ucs2": "a \n\u4e2d\ue000\ud800b\u2028\u0130",
    "ucs4": "a\n\U0001f680\u4e2d\udc80b \U0001d7ce",
}
OPERATIONS: Final[tuple[Callable[[str, str], Any], ...]] = (
    lambda s, o: len(s),
    lambda s, o: (s == o, o == s, s != o, s < o, o <= s, s == o + "x", s == o[:-1]),
    lambda s, o: hash(s),
    lambda s, o: s[3:9],
    lambda s, o: s[::-1],
    lambda s, o: (s[0], s[-1], s[len(s) // 2]),
    lambda s, o: s[-5000:-3],
    lambda s, o: s.count("b"),
    lambda s, o: (s.find("b\n"), s.rfind("a"), s.find(o[-1], 3)),
    lambda s, o: ("ERROR" in s, o[-3:] in s, "nowhere" in s),
    lambda s, o: s.splitlines(keepends=True),
    lambda s, o: (s.split("\n"), s.split(), s.rsplit("a", 3)),
    lambda s, o: (s.upper(), s.lower(), s.swapcase(), s.title(), s.capitalize()),
    lambda s, o: s.casefold(),
    lambda s, o: s.replace("a", "zz"),
    lambda s, o: s.replace(o[-1], ""),
    lambda s, o: [match.span() for match in re.finditer(r"\w+|\n", s)],
    lambda s, o: re.findall(r"(?i)e\w*", s),
    lambda s, o: re.sub("a", "b", s),
    lambda s, o: re.split(r"\s", s),
    lambda s, o: bool(re.fullmatch(r"(?s).*", s)),
    lambda s, o: s.encode("utf-8", "surrogatepass"),
    lambda s, o: s.encode("utf-16-le", "surrogatepass"),
    lambda s, o: s.encode("ascii", "backslashreplace"),
    lambda s, o: s + "x",
    lambda s, o: "x\U0001f680" + s,
    lambda s, o: f"{s}|{s:>9}",
    lambda s, o: "%s %r" % (s, s),  # noqa: UP031  (each way is one of C's own)
    lambda s, o: "{} {!a}".format(s, s),  # noqa: UP032
    lambda s, o: "".join([s]),  # noqa: FLY002
    lambda s, o: ",".join([s, s]),  # noqa: FLY002
    lambda s, o: (str(s), s[:], s.strip("\0")),
    lambda s, o: (s.startswith(o[:3]), s.endswith(o[-2:]), s.startswith(("q", o[0]))),
    lambda s, o: (s.isascii(), s.isidentifier(), s.isdigit(), s.isspace(), s.isprintable(), s.isupper(), s.isalnum()),
    lambda s, o: list(s),
    lambda s, o: sum(map(ord, s)),
    lambda s, o: (max(s), min(s), sorted(s)),
    lambda s, o: s.translate({97: "Q", 10: None}),
    lambda s, o: (s.partition("b"), s.rpartition("b")),
    lambda s, o: (s.strip(), s.lstrip("a"), s.rstrip(o[-1])),
    lambda s, o: s * 2,
    lambda s, o: (s in {o: 1}, {s: 1}[o], {s} == {o}),
    lambda s, o: pickle.loads(pickle.dumps(s)),
    lambda s, o: (copy.copy(s), copy.deepcopy(s)),
    lambda s, o: repr(s),
    lambda s, o: ascii(s),
    lambda s, o: (s.zfill(9), s.center(len(s) + 3, "*"), s.ljust(len(s) + 1)),
    lambda s, o: sorted([s, "a", o]),
    lambda s, o: json.loads(json.dumps(s)),
    lambda s, o: json.dumps(s, ensure_ascii=False),
    lambda s, o: s.expandtabs(),
    lambda s, o: (s.removeprefix(o[:2]), s.removesuffix(o[-2:])),
    lambda s, o: list(io.StringIO(s, newline=None)),
    lambda s, o: getattr(type("Has", (), {})(), s.replace("\0", "")[:40], "none"),
    lambda s, o: type("Has", (), {"v": s})().v == o,
    lambda s, o: sys.intern(s) == o,
    lambda s, o: io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogatepass").write(s),
    lambda s, o: (type(s) is str, isinstance(s, str), s.__class__.__name__, s.__sizeof__() > len(o)),
)


def mapped(characters: str, layout: Layout) -> str:
    """The same characters, in a file that is mapped."""
    raw = characters.encode(FORMS[layout].codec, "surrogatepass")
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        return map_text(file.fileno(), len(raw), layout)


def answer(operation: Callable[[str, str], Any], text: str, ordinary: str) -> Any:
    """What an operation gives, or what it raises."""
    try:
        return operation(text, ordinary)
    except (ValueError, TypeError, LookupError) as error:
        return type(error), str(error)


def main() -> None:
    """Compare all, and look at what is left."""
    assert why_not() == "", why_not()
    assert window.take(4, 64) is not None
    letters, compared = random.Random(5), 0
    for layout in FORMS:
        needs = FORMS[layout].probe[-1]
        for size in SIZES:
            ordinary = "".join(letters.choice(LETTERS[layout]) for _ in range(size - 1)) + needs
            text = mapped(ordinary, layout)
            for number, operation in enumerate(OPERATIONS):
                found, wanted = answer(operation, text, ordinary), answer(operation, ordinary, ordinary)
                assert found == wanted, (layout, size, number)
                compared += 1
            grown = text
            grown += "d"
            assert (text, grown) == (ordinary, ordinary + "d")
            assert (id(str(text)), id(text[:])) == (id(text), id(text))
            del text, grown
            gc.collect()
    print(compared)


main()
