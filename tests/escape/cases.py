"""The corpus: small hostile programs, one a file, and what must become of each.

Line 1 of a case: `# sbx-case ID | category: C | expect: E | timeout: T | must: what must happen`. The rest is the
program; `# --- next cell ---` separates steps. `@NAME@` stands for a canary's place and is filled in as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

CORPUS: Final = Path(__file__).with_name("corpus")
NEXT_CELL: Final = "# --- next cell ---\n"

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
}
"""Cases that keep a core busy for a second and more: until their time limit, or with what they make."""


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
        for name, place in places.items():
            steps = [step.replace(f"@{name}@", place) for step in steps]
        return steps


def read_corpus() -> list[Case]:
    """Every case, by category and name."""
    return [_read(path) for path in sorted(CORPUS.glob("*/*.py"))]


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
