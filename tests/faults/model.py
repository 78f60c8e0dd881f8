"""What a session must hold, kept beside it by the one who drives it.

Is: the names that the scripted workload binds and their values after each acknowledged step. Is not: a look into the
server. A name may be wrong only where a reply said so: it stands in `lost`, or is said to be as it was after an older
step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

OLDER: Final = re.compile(r"restored as it was after step (\d+)")
LIKEWISE: Final = "likewise"
"""A reason that is the row's before it."""


class _Gone:
    """A name that was deleted."""

    def __repr__(self) -> str:
        return "<deleted>"


GONE: Final = _Gone()


@dataclass(slots=True)
class Model:
    """The expected namespace."""

    values: dict[str, Any] = field(default_factory=dict)
    """What each name must hold; `GONE` where there must be none. Names that may hold anything are not here."""
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """`values` after each acknowledged step."""
    acknowledged: dict[int, str] = field(default_factory=dict)
    """Step index to the status that was answered."""
    outputs: dict[int, str] = field(default_factory=dict)
    """Step index to the output that was delivered whole."""

    def step_done(self, report: dict[str, Any], changes: dict[str, Any]) -> None:
        """A step was answered."""
        index, status = report["step_index"], report["status"]
        self.acknowledged[index] = status
        if not report["truncated"]["stdout"]:
            self.outputs[index] = report["stdout"]
        if status == "ok":
            self.values.update(changes)
        elif status != "error":
            self.step_unknown(changes)
        self.history[index] = dict(self.values)

    def step_unknown(self, changes: dict[str, Any]) -> None:
        """A step may or may not have done its changes: it was cut off, or nobody heard its answer."""
        for name in changes:
            self.values.pop(name, None)

    def told(self, lost: dict[str, Any] | None) -> None:
        """A reply's loss report: what it names is gone or older, and no longer expected."""
        why = ""
        for row in lost["lost"] if lost is not None else ():
            why = why if row["why"] == LIKEWISE else row["why"]
            older, name = OLDER.search(why), row["name"]
            then = self.history.get(int(older[1]), {}) if older is not None else {}
            if older is None:
                self.values[name] = GONE
            elif name in then:
                self.values[name] = then[name]
            else:
                self.values.pop(name, None)

    def read(self, name: str, value: Any) -> None:
        """A value that was read (`GONE` if there was none) must be the expected one."""
        if name in self.values:
            assert value == self.values[name], f"{name} is {value!r} and should be {self.values[name]!r}"
        self.values[name] = value
        if self.history:
            self.history[max(self.history)][name] = value
