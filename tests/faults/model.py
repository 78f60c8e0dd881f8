"""What a session must hold, kept beside it by the one who drives it.

Is: the names that the scripted workload binds and their values after each acknowledged step. Is not: a look into the
server. A name may be wrong only where a reply said so: it stands in `lost`, or is said to be as it was after an older
step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

OLDER = re.compile(r"restored as it was after step (\d+)")


@dataclass(slots=True)
class Model:
    """The expected namespace."""

    values: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Values after each acknowledged step that ended with its kernel alive."""
    acknowledged: dict[int, str] = field(default_factory=dict)
    """Step index to the status that was answered."""
    codes: dict[int, str] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)
    """Names that a step may or may not have changed: it was cut off, or nobody heard its answer."""

    def step_done(self, index: int, status: str, code: str, changes: dict[str, Any]) -> None:
        """A step was answered."""
        self.acknowledged[index] = status
        self.codes[index] = code
        if status == "ok":
            self.values.update(changes)
            self.uncertain -= set(changes)
        elif status != "error":
            self.uncertain |= set(changes)
        self.history[index] = dict(self.values)

    def told(self, lost: dict[str, Any] | None) -> None:
        """A reply's loss report: what it names is gone or older, and no longer expected."""
        if lost is None:
            return
        for row in lost["lost"]:
            older = OLDER.search(row["why"])
            name = row["name"]
            if older is None:
                self.values.pop(name, None)
            elif name in self.history.get(int(older[1]), {}):
                self.values[name] = self.history[int(older[1])][name]
            else:
                self.values.pop(name, None)
            self.uncertain.discard(name)

    def check(self, name: str, value: Any) -> None:
        """A value that was read must be the expected one."""
        if name in self.uncertain or name not in self.values:
            return
        expected = self.values[name]
        assert value == expected, f"{name} is {value!r} and should be {expected!r}"
