"""The policy: allowlist, limits and required walls of a kernel.

Is: the schema and what each field means. Is not: the values, which lie in `policy.json` beside the `kernel.json` that
they govern, so that choosing a kernelspec chooses the lockdown. Above: the provisioner, which writes the effective
policy (the file with the user's settings applied) for each kernel. Below: nothing. The kernel reads the same JSON
with the standard library alone.

Every limit has a value and none may be "none". A list that is absent is an error (nothing is implied by
leaving it out); an empty list means "none of them". What is left out of `context` has its default, and a policy that
names no libraries of their own (`at_first_use`, `needed`, `libraries_mb`) has none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rlm_kernel_mcp.errors import InvalidInput

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")]

WallName = Literal[
    "rlimits",
    "no_new_privs",
    "not_dumpable",
    "capabilities",
    "landlock",
    "seccomp",
    "namespaces",
    "scratch_quota",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Imports(_Part):
    """Which modules the code of a step may import. A courtesy: the walls hold without it."""

    mode: Literal["allowlist", "any"]
    """`allowlist`: only `modules`. `any`: every installed module, every builtin, every magic that needs no process."""

    modules: tuple[ModuleName, ...]
    """Importable modules by full name; a name admits its submodules only where they are listed too. Empty: none."""

    preload: tuple[ModuleName, ...]
    """Imported before the walls rise, since an extension module cannot be mapped afterwards. Empty: only `modules`."""

    at_first_use: tuple[ModuleName, ...] = ()
    """Packages that are hidden while the rest is preloaded (they start threads), and imported by the step that uses
    them first. Where there are any, a file may be mapped executable after the walls have risen, as with `any`."""

    needed: tuple[ModuleName, ...] = ()
    """Modules without which there is no kernel: one that this Python does not have refuses it, and says what to
    install. Any other module of the policy that is not there is left out."""


class Limits(_Part):
    """What one kernel may use. Units stand in the names."""

    memory_mb: int = Field(ge=64, le=1_048_576)
    """Memory that the session's own data may take, beyond what the bare kernel takes."""

    libraries_mb: int = Field(default=0, ge=0, le=65_536)
    """Address space beside it for what is imported `at_first_use`; all that is resident counts as `memory_mb`."""

    step_cpu_s: int = Field(ge=1, le=86_400)
    """Processor time of one step, over all its threads."""

    open_files: int = Field(ge=64, le=65_536)
    """Open descriptors (RLIMIT_NOFILE)."""

    threads: int = Field(ge=16, le=4_096)
    """Threads of the kernel, its own dozen included."""

    scratch_mb: int = Field(ge=0, le=65_536)
    """Bytes that the scratch directory may hold in all. 0: the scratch directory is read-only."""

    scratch_files: int = Field(ge=16, le=1_000_000)
    """Files and directories that the scratch directory may hold."""

    output_chars_per_step: int = Field(ge=10_000, le=100_000_000)
    """Characters of stdout, and of stderr, that a kernel sends for one step: the head, and at the end the tail."""


class Context(_Part):
    """How large a context may be, and how it is held."""

    in_memory_mb: int = Field(default=256, ge=1, le=65_536)
    """A larger context, or one of more than a quarter of `memory_mb`, is mapped where it lies if its bytes allow it."""

    mapped_max_gb: int = Field(default=64, ge=0, le=1024)
    """Address space of one kernel in which files are mapped to be read, beside its memory: the contexts that are not
    held in memory, all together. A file there takes at most 1 MB of memory for each 512 MB that are read, and what the
    system caches of it. 0: none is mapped."""

    unpacked_max_gb: int = Field(default=4, ge=1, le=1024)
    """What all compressed files of one context may unpack to."""

    unpacked_ratio_max: int = Field(default=200, ge=2, le=100_000)
    """How many times its size a compressed file may unpack to, once 64 MB of it are."""


class Walls(_Part):
    """Which walls must hold. A required wall that cannot be raised refuses the kernel (SANDBOX_UNAVAILABLE)."""

    required: tuple[WallName, ...]
    """Fail closed without these. Empty: none is required (for a machine that is itself thrown away)."""

    wanted: tuple[WallName, ...]
    """Raised where the machine can; reported where it cannot."""


class Pool(_Part):
    """Kernels that are started ahead."""

    spare_kernels: int = Field(ge=0, le=32)
    """Ready kernels kept for the next session. 0: none."""

    max_age_s: int = Field(ge=1, le=86_400)
    """A spare kernel older than this is replaced."""


class SnapshotLimits(_Part):
    """What of a namespace is kept so that a fresh kernel can have it back."""

    name_mb: int = Field(ge=0, le=65_536)
    """Largest snapshot of one name. 0: nothing is kept."""

    total_mb: int = Field(ge=0, le=65_536)
    """Largest sum of all snapshots of a session. On disk it takes at most 3.5 times as much."""

    step_ms: int = Field(ge=1, le=600_000)
    """Longest time that the snapshots after one step may take."""


class Policy(_Part):
    """A kernel's whole lockdown; the schema of `policy.json`."""

    imports: Imports
    limits: Limits
    context: Context = Context()
    """A policy from before contexts were mapped has none of it: the defaults hold."""
    walls: Walls
    pool: Pool
    snapshots: SnapshotLimits
    interrupt_grace_ms: int = Field(ge=50, le=60_000)
    """How long an interrupted step may take to come to rest before the next rung of the ladder."""

    start_timeout_ms: int = Field(ge=1_000, le=600_000)
    """How long a kernel may take from launch to ready."""

    def with_settings(
        self,
        *,
        import_policy: str | None,
        imports: tuple[str, ...],
        memory_limit_mb: int | None,
        preload: tuple[str, ...] = (),
    ) -> Policy:
        """This policy with a user's settings applied: more modules, every module, another memory limit.

        None: not set, and this policy's own holds.
        """
        changes = {
            "imports": {
                **self.imports.model_dump(),
                "mode": import_policy or self.imports.mode,
                "modules": (*self.imports.modules, *(name for name in imports if name not in self.imports.modules)),
                "preload": (*self.imports.preload, *preload),
            },
            "limits": {**self.limits.model_dump(), "memory_mb": memory_limit_mb or self.limits.memory_mb},
        }
        return Policy.model_validate({**self.model_dump(), **changes})


def load_policy(path: Path) -> Policy:
    """Read and validate a policy file.

    Raises:
        InvalidInput: the file is missing, is not JSON, or breaks the schema; the message names the field.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Policy.model_validate(raw)
    except OSError as error:
        raise InvalidInput(f"The policy file {path.name} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"The policy file {path.name} is wrong at {field!r}: {first['msg']}.") from error
    except ValueError as error:
        raise InvalidInput(f"The policy file {path.name} is not JSON: {error}.") from error
