"""The variables by which a user sets something, a row each.

Is: what `serve --help`, the parser and the README are made of, and how one value is read. Is not: the settings that
come of them (`settings.py`, `subcalls.py`). Above: `settings.py`. Below: `errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: the variable, its option, what it means, its default as shown to a person."""

    variable: str
    meaning: str
    default: str
    choices: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """The option of `serve`: `RLM_MAX_SESSIONS` is `--max-sessions`."""
        return "--" + self.variable.removeprefix(PREFIX).lower().replace("_", "-")


PREFIX: Final = "RLM_"
TABLE: Final = (
    Setting(
        "RLM_CONTEXT_ROOTS",
        "directories (separated as in PATH) below which context_paths may lie",
        "the working directory",
    ),
    Setting("RLM_KERNEL", "kernelspec to start", "rlm-python"),
    Setting("RLM_SANDBOX_MODE", "walls by this process, or a container", "process", ("process", "container")),
    Setting("RLM_SANDBOX_CONTAINER_RUNTIME", "container engine", "docker", ("docker", "podman")),
    Setting("RLM_SANDBOX_CONTAINER_IMAGE", "image that bin/build-image builds", "rlm-kernel:latest"),
    Setting("RLM_SANDBOX_FALLBACK", "what to do when the mode cannot be had", "off", ("off", "process")),
    Setting("RLM_IMPORT_POLICY", "what a step may import", "the kernelspec's: allowlist", ("allowlist", "any")),
    Setting("RLM_IMPORTS", "modules added to the allowlist (comma-separated)", "none"),
    Setting("RLM_MEMORY_LIMIT_MB", "memory of one session in MB", "the kernelspec's: 1024"),
    Setting("RLM_MAX_SESSIONS", "live sessions at once", "32"),
    Setting("RLM_IDLE_TIMEOUT_S", "seconds after which an idle session's kernel is stopped", "3600"),
    Setting("RLM_STATE_DIR", "directory of traces and session records", "the platform's state directory"),
    Setting("RLM_HOST", "one host for all clients of the user, where there can be one", "auto", ("auto", "off")),
    Setting(
        "RLM_HOST_IDLE_S",
        "seconds without a client or a step after which a host ends; of the client that starts it",
        "60",
    ),
    Setting("RLM_HOST_WAIT_S", "seconds that a client waits for a host before it has its own server", "10"),
    Setting("RLM_CLUSTER", "cluster on whose nodes the sessions are: auto, or the HOST:PORT of its head", "off"),
    Setting("RLM_HOST_DIR", "directory of the hosts' sockets, short and of this user alone", "below /tmp"),
    Setting(
        "RLM_OTEL",
        "whether spans of sessions, steps and questions go to a collector, and whether texts go along",
        "off",
        ("off", "on", "texts"),
    ),
    Setting("RLM_SPOOL_GB", "disk in RLM_STATE_DIR for contexts that memory cannot hold, in GB", "16"),
    Setting(
        "RLM_SUBCALL_BACKEND",
        "who answers the questions of a session's code",
        "agent",
        ("agent", "none", "openai", "claude"),
    ),
    Setting("RLM_SUBCALL_MODEL", "model that is asked; openai needs it", "none"),
    Setting("RLM_SUBCALL_MODELS", "further models that code may name (comma-separated)", "none"),
    Setting(
        "RLM_SUBCALL_API",
        "protocol of the endpoint",
        "responses, or chat where OPENAI_BASE_URL or Azure is set",
        ("responses", "chat"),
    ),
    Setting(
        "RLM_SUBCALL_KEY_FILE",
        "file that holds the key, of this user alone",
        "the value of OPENAI_API_KEY, or what claude has",
    ),
    Setting("RLM_SUBCALL_ALLOW_HTTP", "whether an endpoint elsewhere may be asked without TLS", "off", ("on", "off")),
    Setting(
        "RLM_SUBCALL_PARALLEL",
        "questions asked at once, of a server's sessions with the same settings",
        "16; 4 of claude",
    ),
    Setting("RLM_SUBCALL_RPM", "questions asked a minute, of a server's sessions with the same settings", "no limit"),
    Setting("RLM_SUBCALL_OUTPUT_TOKENS", "most tokens of one answer", "2000; 8000 of claude"),
    Setting("RLM_SUBCALL_MAX", "most questions of a session", "200; 1000 of openai"),
    Setting("RLM_SUBCALL_MAX_TOKENS", "most tokens of a session's questions and answers", "2000000"),
    Setting("RLM_SUBCALL_MAX_USD", "most dollars of a session; openai needs RLM_SUBCALL_PRICE", "no limit"),
    Setting("RLM_SUBCALL_PRICE", "dollars a million tokens, in and out: 0.25,2", "none"),
    Setting("RLM_SUBCALL_DAY_MAX", "most questions of a user's sessions in a day (UTC)", "10000"),
    Setting("RLM_SUBCALL_DEPTH", "levels of questions; from 2 on rlm_query gets sessions of its own (at most 4)", "1"),
    Setting("RLM_SUBCALL_LEASE_S", "seconds for which a question that somebody took is shown to nobody else", "300"),
    Setting("RLM_SUBCALL_CACHE", "whether answers are kept for the same question", "on", ("on", "off")),
)

ELSEWHERE: Final = frozenset({"RLM_FORBID_SKIPS", "RLM_NOTEBOOK", "RLM_PRESSURE", "RLM_THROUGH_FRONT"})
"""Variables of the same prefix that no server reads, but the test suite does; and RLM_NOTEBOOK a kernel's start by
another Jupyter client (`notebook/running/provisioner.py`)."""

OF_ENDPOINTS: Final = frozenset(
    f"RLM_SUBCALL_{name}"
    for name in (
        *("MODEL", "MODELS", "API", "KEY_FILE", "ALLOW_HTTP", "PARALLEL"),
        *("RPM", "OUTPUT_TOKENS", "MAX_USD", "PRICE", "DAY_MAX"),
    )
)
"""Settings that count only where an endpoint or `claude` answers."""

OLD_NAMES: Final = {("RLM_SANDBOX_MODE", "subprocess"): "process"}


def known_values(values: dict[str, str]) -> dict[str, str]:
    """Values by variable, those of old names under their new ones. Raises: InvalidInput: as `known_of`."""
    return known_of(TABLE, values)


def known_of(table: Sequence[Setting], values: dict[str, str]) -> dict[str, str]:
    """The same of the rows of a table.

    Raises:
        InvalidInput: one is not among its choices.
    """
    for row in table:
        value = values.get(row.variable)
        if value is None:
            continue
        values[row.variable] = value = OLD_NAMES.get((row.variable, value), value)
        if row.choices and value not in row.choices:
            known = ", ".join(row.choices)
            raise InvalidInput(f"{row.variable}={value!r} is not known; known values: {known}.", "Correct the setting.")
    return values


def whole(values: Mapping[str, str], variable: str, default: int, low: int, high: int, unit: str) -> int:
    """A whole number, within its bounds.

    Raises:
        InvalidInput: it is none, or beyond them.
    """
    text = values.get(variable)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text[:12]) <= high:
        message = f"{variable}={text!r} is not a whole number of {unit} from {low} to {high}."
        raise InvalidInput(message, "Correct the setting.")
    return int(text)


def listed(values: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """The parts of a value that commas separate."""
    return tuple(part.strip() for part in values.get(variable, "").split(",") if part.strip())
