"""A program as a client: what it has set, and the directories that it opens by its own rights.

Is: its settings, from its environment and its working directory as they are when it opens a place for sessions, and the
descriptors that stand for its roots from then on. Is not: a place. Above: `in_process.py`, `knocking.py`. Below:
`settings.py`, `front/front.py`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.front import front
from rlm_kernel_mcp.front.needed import heard
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.settings import Settings, doubts, load_settings
from rlm_kernel_mcp.variables.table import TABLE

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Program:
    """One program, as long as a place of its is open."""

    environ: dict[str, str]
    """Its environment, with what it was given above that."""
    given: tuple[str, ...]
    """The settings that were given."""
    settings: Settings
    opened: list[int] = field(default_factory=list)
    """Its working directory and its roots, once `open_directories` was called."""

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Program:
        """This one. `env`: settings that go before those of the environment, with what a backend that they name needs.

        Raises: InvalidInput.
        """
        environ = {**os.environ, **env}
        of_backend = {name: value for name, value in env.items() if name.startswith(heard((), environ))}
        given = {name: value for name, value in env.items() if name not in of_backend}
        if unknown := sorted(given.keys() - {row.variable for row in TABLE}):
            known = ", ".join(row.variable for row in TABLE)
            raise InvalidInput(f"There is no setting {', '.join(unknown)}; the settings are: {known}.")
        try:
            working_dir = Path.cwd()
        except OSError as error:
            raise InvalidInput(f"The working directory is of no use: {error.strerror}.", "Change to another.") from None
        settings = load_settings(working_dir, {**os.environ, **of_backend}, given)
        for doubt in doubts(env, settings):
            log.warning("%s", doubt)
        return cls(environ, tuple(given), settings)

    def open_directories(self) -> None:
        """Open its working directory and its roots: it keeps these, whoever serves it later. Raises: OSError."""
        self.environ["RLM_STATE_DIR"] = front.state_dir(self.environ)  # found while there is a working directory
        self.opened = front.directories(self.environ)

    def caller(self) -> Caller:
        """Who calls in this process: with the directories that were opened, and not with those of the same names."""
        roots = [os.dup(descriptor) for descriptor in self.opened[1:]]
        cwd, *names = (Path(f"/proc/self/fd/{descriptor}").readlink() for descriptor in self.opened)
        settings = replace(self.settings, working_dir=cwd, context_roots=tuple(names))
        return Caller.of_descriptors("", settings, roots)

    def close(self) -> None:
        """Give the directories back. Safe to call twice."""
        while self.opened:
            os.close(self.opened.pop())
