"""The user's settings: environment variables and options of `serve`.

Is: what comes of them, checked. Is not: their table (`variables/table.py`), nor the policy of a kernel, to which
`kernel/placement/builder.py` applies the settings that concern it. Nothing of this process is read: working directory
and environment are given, since a server may have clients with others than its own.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.text.home_directory import own_home, with_home
from rlm_kernel_mcp.variables.claude import NOT_FOUND
from rlm_kernel_mcp.variables.cluster import CLUSTER_TABLE, OF_CLUSTERS
from rlm_kernel_mcp.variables.subcalls import NO_SUBCALLS, SubcallSettings, load_subcall_settings
from rlm_kernel_mcp.variables.table import ELSEWHERE, OF_ENDPOINTS, PREFIX, TABLE, known_values, listed, whole
from rlm_kernel_mcp.variables.telemetry import NO_TELEMETRY, TelemetrySettings, load_telemetry_settings

IMAGE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")

ENTRANCE: Final = "rlm_kernel_mcp.cluster.entrance"
"""What has the sessions of a cluster for programs and servers. It lies above them, is an extra, and is imported by this
name where somebody asks for a cluster, and not before."""
CLUSTER_ADDRESS: Final = re.compile(r"(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}")

CHECKING: Final = ("jsonschema", "referencing")
"""What kernels check the schema of an answer with; they have it where somebody answers."""

JUPYTERS: Final = ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_PREFER_ENV_PATH", "XDG_DATA_HOME", "HOME")
"""The variables by which Jupyter finds kernelspecs."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Validated settings of one client."""

    context_roots: tuple[Path, ...]
    kernel: str
    sandbox_mode: str
    container_runtime: str
    container_image: str
    sandbox_fallback: str
    import_policy: str
    imports: tuple[str, ...]
    memory_limit_mb: int
    max_sessions: int
    idle_timeout_s: int
    state_dir: Path
    working_dir: Path
    home: str | None = None
    """What `~` stands for."""
    time_zone: str | None = None
    """TZ of its kernels: `datetime.now()` should agree with what the user's files say."""
    jupyter: tuple[tuple[str, str], ...] = ()
    """Which of `JUPYTERS` are set, and their values."""
    host_idle_s: int = 60
    host_wait_s: int = 10
    spool_gb: int = 16
    cluster: str = ""
    """On whose nodes its sessions are: `auto`, or an address; empty: here."""
    subcalls: SubcallSettings = NO_SUBCALLS
    """Who answers its sessions' questions, with which key, and what that may cost."""
    telemetry: TelemetrySettings = NO_TELEMETRY
    chosen: frozenset[str] = frozenset()
    """The variables that were set, by the environment or an option. Where one was not set that the kernelspec's policy
    has too (imports, memory), the policy's value holds."""

    def of_kernel(self) -> KernelSettings:
        """The settings that concern a kernel by itself."""
        return KernelSettings(
            import_policy=self.import_policy if "RLM_IMPORT_POLICY" in self.chosen else None,
            imports=self.imports,
            memory_limit_mb=self.memory_limit_mb if "RLM_MEMORY_LIMIT_MB" in self.chosen else None,
            sandbox_mode=self.sandbox_mode,
            sandbox_fallback=self.sandbox_fallback,
            preload=() if self.subcalls.backend == "none" else CHECKING,
        )


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """The settings that concern a kernel by itself, whoever starts it. None: not set, the policy's value holds."""

    import_policy: str | None
    imports: tuple[str, ...]
    memory_limit_mb: int | None
    sandbox_mode: str
    sandbox_fallback: str
    preload: tuple[str, ...] = ()
    """Modules that kernels have beside the policy's, and that no step may import for that."""


def load_kernel_settings(environ: Mapping[str, str]) -> KernelSettings:
    """A kernel's settings from the environment of the Jupyter client that starts it.

    Raises:
        InvalidInput: a value is not one of the known ones; the message lists them.
    """
    values = known_values({row.variable: environ[row.variable] for row in TABLE if environ.get(row.variable)})
    return KernelSettings(
        import_policy=values.get("RLM_IMPORT_POLICY"),
        imports=_modules(values),
        memory_limit_mb=_memory_limit_mb(values) if "RLM_MEMORY_LIMIT_MB" in values else None,
        sandbox_mode=values.get("RLM_SANDBOX_MODE", "process"),
        sandbox_fallback=values.get("RLM_SANDBOX_FALLBACK", "off"),
    )


def load_settings(
    working_dir: Path | str, environ: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Settings:
    """A client's settings, with the options of `serve` (by variable name) above those of its environment.

    Args:
        working_dir: the client's, an absolute path: relative paths begin there.
        environ: the client's environment.
        overrides: what was given as options.

    Raises:
        InvalidInput: a value is not one of the known ones; the message lists them.
    """
    working_dir, home = _checked_working_dir(working_dir), environ.get("HOME") or own_home(os.getuid())
    values = {row.variable: environ[row.variable] for row in TABLE if environ.get(row.variable)}
    values = known_values(values | dict(overrides or {}))
    roots = values.get("RLM_CONTEXT_ROOTS")
    directories = [part for part in (roots or "").split(os.pathsep) if part]
    return Settings(
        context_roots=tuple(_root(part, working_dir, home) for part in directories) or (working_dir.resolve(),),
        kernel=values.get("RLM_KERNEL", "rlm-python"),
        sandbox_mode=values.get("RLM_SANDBOX_MODE", "process"),
        container_runtime=values.get("RLM_SANDBOX_CONTAINER_RUNTIME", "docker"),
        container_image=_image(values.get("RLM_SANDBOX_CONTAINER_IMAGE", "rlm-kernel:latest")),
        sandbox_fallback=values.get("RLM_SANDBOX_FALLBACK", "off"),
        import_policy=values.get("RLM_IMPORT_POLICY", "allowlist"),
        imports=_modules(values),
        memory_limit_mb=_memory_limit_mb(values),
        max_sessions=whole(values, "RLM_MAX_SESSIONS", 32, 1, 4096, "sessions"),
        idle_timeout_s=whole(values, "RLM_IDLE_TIMEOUT_S", 3600, 1, 31_536_000, "seconds"),
        state_dir=_state_dir(values, environ, working_dir, home),
        working_dir=working_dir,
        home=home,
        time_zone=environ.get("TZ"),
        jupyter=tuple((name, environ[name]) for name in JUPYTERS if environ.get(name)),
        host_idle_s=whole(values, "RLM_HOST_IDLE_S", 60, 0, 31_536_000, "seconds"),
        host_wait_s=whole(values, "RLM_HOST_WAIT_S", 10, 1, 3600, "seconds"),
        cluster=_cluster(values),
        spool_gb=whole(values, "RLM_SPOOL_GB", 16, 1, 65_536, "GB"),
        subcalls=load_subcall_settings(values, environ, working_dir, home),
        telemetry=load_telemetry_settings(values, environ),
        chosen=frozenset(values),
    )


def _modules(values: Mapping[str, str]) -> tuple[str, ...]:
    modules = listed(values, "RLM_IMPORTS")
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            raise InvalidInput(f"RLM_IMPORTS names {name!r}, which is not a module name.", "Correct the setting.")
    return modules


def _memory_limit_mb(values: Mapping[str, str]) -> int:
    return whole(values, "RLM_MEMORY_LIMIT_MB", 1024, 64, 1_048_576, "MB")


def _nearest(end: str) -> str:
    """The variable that was meant, without the prefix, or nothing. With it all variables would look alike."""
    ends = [row.variable.removeprefix(PREFIX) for row in (*TABLE, *CLUSTER_TABLE)]
    near = difflib.get_close_matches(end, ends, n=1) or [known for known in ends if end and end in known.split("_")]
    return near[0] if near else ""


def doubts(environ: Mapping[str, str], settings: Settings | KernelSettings) -> Iterator[str]:
    """What is probably a mistake in the settings, a sentence each: misspelt names, modules that are not installed."""
    known = [row.variable for row in TABLE]
    for variable in sorted(environ):
        if variable.upper().startswith(PREFIX) and variable not in {*known, *ELSEWHERE, *OF_CLUSTERS}:
            near = _nearest(variable.upper().removeprefix(PREFIX))
            meant = f"; did you mean {PREFIX}{near}?" if near else f"; the known ones are {', '.join(known)}."
            yield f"{variable} is set, but there is no such setting{meant}"
    if settings.sandbox_mode == "container":
        return  # the image has modules of its own
    if isinstance(settings, Settings):
        yield from _doubts_of_backend(settings.subcalls, settings.chosen)
        if settings.telemetry.is_on and importlib.util.find_spec("opentelemetry.sdk") is None:
            yield f"RLM_OTEL needs the packages of the extra otel, which are not installed for {sys.executable}."
    for name in settings.imports:
        top = name.partition(".")[0]
        if importlib.util.find_spec(top) is None:  # this imports nothing: the name has no dot
            yield f"RLM_IMPORTS names {name!r}, but no module {top!r} is installed for {sys.executable}."


def _doubts_of_backend(subcalls: SubcallSettings, chosen: frozenset[str]) -> Iterator[str]:
    if not subcalls.is_open_world and (idle := sorted(chosen & OF_ENDPOINTS)):
        are_set = f"{', '.join(idle)} {'is' if len(idle) == 1 else 'are'} set, and without use"
        yield f"{are_set}: RLM_SUBCALL_BACKEND is {subcalls.backend}, and asks no endpoint."
    if subcalls.backend == "claude" and subcalls.program() is None:
        yield f"RLM_SUBCALL_BACKEND=claude: {NOT_FOUND}"
    if subcalls.backend == "openai" and importlib.util.find_spec("openai") is None:
        yield f"RLM_SUBCALL_BACKEND=openai needs the package openai, which is not installed for {sys.executable}."


def _cluster(values: Mapping[str, str]) -> str:
    text = values.get("RLM_CLUSTER", "off")
    if text not in ("off", "auto") and not CLUSTER_ADDRESS.fullmatch(text):
        raise InvalidInput(
            f"RLM_CLUSTER={text[:80]!r} is neither auto, nor off, nor the address of a cluster's head, HOST:PORT.",
            "Correct the setting.",
        )
    return "" if text == "off" else text


def _checked_working_dir(given: Path | str) -> Path:
    path = Path(given)
    if not path.is_absolute():
        raise InvalidInput(f"The working directory {str(path)!r} is not an absolute path.", "Give its whole path.")
    return path


def _state_dir(values: Mapping[str, str], environ: Mapping[str, str], working_dir: Path, home: str | None) -> Path:
    # Absolute: a command in another directory is to name the place, and SQLite takes `file:x` for something else.
    if given := values.get("RLM_STATE_DIR"):
        return working_dir / _expanded("RLM_STATE_DIR", given, home)
    if home is None:
        raise InvalidInput(
            "There is no home directory for the session records: HOME is not set, and this user has none.",
            "Set RLM_STATE_DIR, or HOME.",
        )
    return working_dir / default_state_dir(environ, home)


def _expanded(variable: str, text: str, home: str | None) -> Path:
    path = with_home(text, home)
    if path.startswith("~"):
        raise InvalidInput(f"{variable} names {text!r}: there is no such home directory.", "Correct the setting.")
    return Path(path)


def default_state_dir(environ: Mapping[str, str], home: str) -> Path:
    """The platform's state directory: XDG's on Linux, Application Support on macOS."""
    if sys.platform == "darwin":
        return Path(home, "Library", "Application Support", "rlm-kernel-mcp")
    base = Path(environ.get("XDG_STATE_HOME", ""))
    # The XDG Base Directory Specification calls a relative path invalid, to be ignored.
    return (base if base.is_absolute() else Path(home, ".local", "state")) / "rlm-kernel-mcp"


def _image(name: str) -> str:
    if not IMAGE_NAME.fullmatch(name):  # an engine would take a name that begins with a dash for an option
        raise InvalidInput(
            f"RLM_SANDBOX_CONTAINER_IMAGE={name!r} is not the name of an image; one looks like rlm-kernel:latest.",
            "Correct the setting.",
        )
    return name


def _root(text: str, working_dir: Path, home: str | None) -> Path:
    path = working_dir / _expanded("RLM_CONTEXT_ROOTS", text, home)
    if not path.is_dir():
        raise InvalidInput(f"RLM_CONTEXT_ROOTS names {text!r}, which is not a directory.", "Correct the setting.")
    return path.resolve()
