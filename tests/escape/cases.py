"""The corpus: small hostile programs, one a file, and what must become of each.

Line 1 of a case: `# sbx-case ID | category: C | expect: E | timeout: T | must: what must happen`. The rest is the
program, which says where it ends (`verdicts.py`); `# --- next cell ---` separates steps. `@NAME@` stands for a canary's
place and is filled in as text, and `@RAW@` for the ways of `questions/` to write to the channel of questions past the
functions that ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

CORPUS: Final = Path(__file__).with_name("corpus")
NEXT_CELL: Final = "# --- next cell ---\n"

ASKING: Final = "questions"
"""The category of cases that need somebody to ask: a kernel has no channel for its questions where nobody answers."""

RAW: Final = """
import gc, itertools, json, os, socket, threading
asking = next(one for one in gc.get_objects() if type(one).__name__ == "Channel" and hasattr(one, "_outgoing"))
wire, step, opts, numbers = asking._socket, asking._step_of(), {"batch": 1_000}, itertools.count(1_000)
fd = wire.fileno()
def frame(said):
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return len(data).to_bytes(4, "big") + data
def write(data):
    while data: data = data[os.write(fd, data):]
def ask(*items):
    return frame({"ask": {"step": step, "opts": opts, "items": list(items)}})
def call(*items, **more):
    opts = {"batch": 0, "kind": "function", **more}
    return frame({"ask": {"step": step, "opts": opts, "items": list(items)}})
def stop_reading():
    asking._incoming._wire = None
"""

WITHOUT_FUNCTIONS: Final = {"fun-without"}
"""Cases whose session offers no function; all others about questions have those of `driver.py`."""

SLOW: Final = {
    *(
        "bi-shadow-print",
        "res-cpu-c-loop",
        "res-cpu-sigmask",
        "res-cpu-sort",
        "res-gil-hold",
        "res-int-pow",
        "res-int-str",
    ),
    *("res-mem-nested", "res-mem-zlib", "res-out-flood", "res-out-traceback", "res-out-warnings"),
    *("res-mem-shared-mmap", "res-thread-bomb", "res-out-rawfd", "res-out-one-line", "res-stack-overflow-c"),
    *("res-cpu-regex", "res-repr-hang", "res-sleep-forever", "fsw-deep-dirs", "res-disk-many-files"),
}
"""Cases that take a second and more: until their time limit, or with what they make. `bombs/` has one of each kind."""


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile program."""

    name: str
    category: str
    expect: str
    must: str
    cells: tuple[str, ...]

    def filled(self, places: dict[str, str]) -> list[str]:
        """The steps, with the canaries' places in them."""
        steps = list(self.cells)
        for name, place in {"RAW": RAW, **places}.items():
            steps = [step.replace(f"@{name}@", place) for step in steps]
        return steps


def read_corpus(*, asking: bool = False) -> list[Case]:
    """Every case, by category and name: of the categories that need nobody to ask, or of the one that does."""
    return [_read(path) for path in sorted(CORPUS.glob("*/*.py")) if (path.parent.name == ASKING) is asking]


COURTESIES: Final = {"allow", "builtins-policy", "import-policy", "introspection", "ipython-magics", "output"}
"""Categories about the shipped policy's courtesies, or what works under it; the others are about the walls."""


def as_parameters(*, courtesies: bool) -> list[Any]:
    """Every case as a test's parameter, named as it is, the slow ones marked.

    `courtesies`: whether they are on where these are tried. The fast part has each case in the policy in which it comes
    further: what is about the walls where nothing is refused before them.
    """
    return [
        pytest.param(
            case,
            id=case.name,
            marks=[pytest.mark.slow] * (case.name in SLOW or (case.category in COURTESIES) is not courtesies),
        )
        for case in read_corpus()
    ]


def _read(path: Path) -> Case:
    head, _, program = path.read_text(encoding="utf-8").partition("\n")
    name, *rest = head.removeprefix("# sbx-case ").split(" | ")
    fields = dict(part.split(": ", 1) for part in rest)
    assert fields["category"] == path.parent.name, path
    return Case(name, fields["category"], fields["expect"], fields["must"], tuple(program.split(NEXT_CELL)))
