"""The hosts of this user as the commands show them: which run, for how many clients, and why one cannot be asked.

Is: what each host says of itself by its door, and the trial of one that `doctor` makes where none runs. Is not: a
client, which would keep the host; nor a host's own looks (`host/entry/`). Above: `commands/doctoring/doctor.py`,
`sessions.py`. Below: `host/others/known.py`, `front/front.py`.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.front.front import NoHost, Place, ours
from rlm_kernel_mcp.host.others.known import STATUS, Condition, Known, known_hosts
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.text.wording import counted
from rlm_kernel_mcp.variables.table import TABLE

ANSWER_S: Final = 10.0
TRIAL_S: Final = 30.0
END_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Host:
    """A host that runs. `condition`: what it says of itself; None: it cannot be asked, and `problem` says why."""

    pid: int
    version: str
    path: str
    condition: Condition | None
    problem: str = ""

    @property
    def clients(self) -> int | None:
        return None if self.condition is None else self.condition.clients

    @property
    def clients_in_words(self) -> str:
        return "nobody knows how many clients" if self.clients is None else counted(self.clients, "client")


def place_of(settings: Settings, environ: Mapping[str, str]) -> Place:
    """Where the hosts for clients with these settings are. Raises: NoHost, OSError: there can be none."""
    return Place({**environ, "RLM_STATE_DIR": str(settings.state_dir)})


def running_hosts(place: Place) -> list[Host]:
    """Every host of that place that runs, of whatever version; the one that new clients come to is the first."""
    known = sorted(known_hosts(place), key=lambda one: one.path != place.socket)
    return [host for one in known if (host := _asked(one)) is not None]


def _asked(one: Known) -> Host | None:
    try:
        said = one.ask(STATUS, wait_s=ANSWER_S)
        return None if said is None else Host(said[0], one.version, one.path, Condition.of(said[1]))
    except ConnectionError:
        return None  # it has just ended
    except (NoHost, OSError) as error:
        why = f"it did not answer within {ANSWER_S:g} s" if isinstance(error, TimeoutError) else str(error)
        return Host(one.pid(ANSWER_S), one.version, one.path, None, why)


# --- for doctor ----------------------------------------------------------------------------------


def host_lines(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Which host a client with these settings would have, or why none."""
    default = next(row.default for row in TABLE if row.variable == "RLM_HOST")
    if (environ.get("RLM_HOST") or default) != "auto":
        yield "Host: none is used, since RLM_HOST is off; each client has a server of its own."
        return
    if settings.sandbox_mode == "container":
        yield "Host: none is used with RLM_SANDBOX_MODE=container; each client has a server of its own."
        return
    try:
        place = place_of(settings, environ)
        if (sock := place.connect(ANSWER_S)) is not None:
            sock.close()
        hosts = running_hosts(place)
        used = next((host for host in hosts if host.path == place.socket), None)
        if used is None:
            yield f"Host: none runs for new clients; the first starts one (tried here: {_tried(place):,} ms)."
        elif used.condition is None:
            raise NoHost(used.problem)
    except (NoHost, OSError) as error:
        yield f"Host: none can be had, so that each client has a server of its own: {error}."
        return
    for host in hosts:
        goes_on = "which new clients use too" if host is used else "which takes no new one, and ends with its last"
        yield f"Host: process {host.pid}, version {host.version}, with {host.clients_in_words}, {goes_on}."


def _tried(place: Place) -> int:
    """Start a host where nobody looks for one, ask it, and end it; returns after how many ms it had answered.

    Raises:
        NoHost, OSError: none can be had, and why.
    """
    begin = time.monotonic_ns()
    directory = tempfile.mkdtemp(prefix="rlm-doctor-", dir="/tmp")  # as short as where they are
    try:
        trial = Place({**place.environ, "RLM_HOST_DIR": directory})
        trial.end = time.monotonic() + TRIAL_S
        ours("starting")["start"](trial)
        known = Known.at(trial, trial.socket)
        said = known.ask(STATUS, wait_s=TRIAL_S) if known else None
        if said is None:
            raise NoHost("the one that was started has ended")
        took_ms = (time.monotonic_ns() - begin) // 1_000_000
        _end(said[0])
        return took_ms
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _end(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        select.select([pidfd], [], [], END_S)
    finally:
        os.close(pidfd)
