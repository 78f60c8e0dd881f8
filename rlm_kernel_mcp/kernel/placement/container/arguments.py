"""Container mode as data: the command lines for an engine, and the errors if it is not available.

Is: argument lists and messages as pure functions, the same for docker and podman except for what one of them lacks. Is
not: any process. Above: `runtime.py`, `launch.py`, `sweep.py`, `bin/build-image`. Below: `policy.py`, `errors.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.errors import SandboxUnavailable
from rlm_kernel_mcp.kernel_code import kernel_code
from rlm_kernel_mcp.policy import Limits

RUN_DIR_LABEL: Final = "rlm-kernel-mcp.run-dir"
"""Label of every container: the run directory of the server that owns it. Nothing is removed by a name's pattern."""
CODE_LABEL: Final = "rlm-kernel-mcp.kernel-code"
"""Label of an image: `kernel_code()` of the package that it was built from."""

USER: Final = "65532:65532"
PROCESSORS: Final = 1
TMP_MB: Final = 16
TMP_FILES: Final = 1024
BARE_KERNEL_MB: Final = 384
"""The interpreter, its libraries and the gap above the kernel's own limit. The engine's limit ends a container for
good, so it must come after the one that a step can catch."""
OTHER_PIDS: Final = 2
"""Processes beside the kernel's: the container's first one, where the engine adds its own, and one to spare."""
ULIMIT_NPROC: Final = 32_768
"""Counts every process of the user number on the whole machine, so it bounds nothing here (`--pids-limit` does); it is
given because the engines' own default may be higher than they are allowed to set."""

REAPER_LOOKS: Final = 60
"""How often the reaper looks at most, a second apart; what is left then goes at the next server's start."""

# `cat` ends when the last writer of its pipe is gone, however the server ended (SIGKILL too).
# The engine's clients outlive the server, and one may be about to make its container: they work in the directories of
# their kernels, as podman's monitors do. Some engines cannot list containers while one of them is being removed, as
# those are whose kernels end now too, and a removal fails where somebody else's is under way.
REAPER: Final = """real=$(cd {run_dir} 2>/dev/null && pwd -P) || real={run_dir}
cat >/dev/null
for _ in {looks}; do
    client=
    for at in /proc/[0-9]*/cwd; do
        case $(readlink "$at") in "$real"/*) client=$at; break;; esac
    done
    if ids=$({left}); then
        if [ -n "$ids" ]; then {remove} $ids; elif [ -z "$client" ]; then exit; fi
    fi
    sleep 1
done"""

PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
"""docker writes these, with their passwords, from its own configuration into a container that does not set them."""


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    """A container engine that works, and the image."""

    name: str
    """`docker` or `podman`."""
    program: str
    """Its client program."""
    image: str
    version: str


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a container sees of the host. Paths are the same on both sides."""

    name: str
    run_dir: str
    sockets: str
    scratch: str
    """A tmpfs of the engine lies here; the directory on the host stays empty."""


def run_argv(
    runtime: ContainerRuntime, mounts: Mounts, limits: Limits, environment: Mapping[str, str], arguments: Sequence[str]
) -> list[str]:
    """Start a kernel's container in the foreground; its end is the end of this process, with the same exit code.

    `--pull never`: a name that is not here is an error and never a download.
    """
    podman = runtime.name == "podman"
    memory = f"{memory_mb(limits)}m"
    argv = [runtime.program, "run", "--rm", "--pull", "never", "--name", mounts.name]
    argv += ["--label", f"{RUN_DIR_LABEL}={mounts.run_dir}"]
    # No network at all; of shared memory the smallest there is, and no name that tells of the host.
    argv += ["--network", "none", "--ipc", "private", "--shm-size", "1m", "--hostname", "kernel"]
    argv += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", USER]
    # Equal limits of memory and of memory with swap mean no swap at all.
    argv += ["--memory", memory, "--memory-swap", memory, "--cpus", str(PROCESSORS), "--pids-limit", str(pids(limits))]
    argv += ["--ulimit", f"nofile={limits.open_files}:{limits.open_files}", "--ulimit", "core=0:0"]
    # nproc counts all processes of a user on the machine: only a bound that other containers do not use up. No log: the
    # engine would keep what a kernel prints on the host's disk.
    argv += ["--ulimit", f"nproc={ULIMIT_NPROC}:{ULIMIT_NPROC}", "--log-driver", "none", "--sig-proxy=false"]
    argv += ["--tmpfs", _tmpfs(runtime, "/tmp", TMP_MB, TMP_FILES)]  # noqa: S108 (the container's)
    argv += ["--tmpfs", _tmpfs(runtime, mounts.scratch, limits.scratch_mb, limits.scratch_files)]
    argv += ["--volume", f"{mounts.sockets}:{mounts.sockets}:rw"]
    # podman by default writes host names, mounts writable tmpfs over /run and others, and passes the proxies on.
    argv += ["--no-hosts", "--read-only-tmpfs=false", "--http-proxy=false"] if podman else []
    for name, value in {**({} if podman else _no_proxies()), **environment}.items():
        argv += ["--env", f"{name}={value}"]
    argv += ["--workdir", "/", "--entrypoint", "python3", runtime.image]
    # -I: nothing in the environment or the working directory decides what Python imports.
    return [*argv, "-I", "-m", "rlm_kernel_mcp.in_kernel", *arguments]


def memory_mb(limits: Limits) -> int:
    """What a whole container may take: a backstop for the kernel's own limit, which raises MemoryError."""
    return limits.memory_mb + limits.libraries_mb + limits.scratch_mb + TMP_MB + BARE_KERNEL_MB


def pids(limits: Limits) -> int:
    """Processes and threads of a whole container."""
    return limits.threads + OTHER_PIDS


def signal_argv(runtime: ContainerRuntime, name: str, signal_name: str) -> list[str]:
    """Send a signal (`INT`) to a container's first process."""
    return [runtime.program, "kill", "--signal", signal_name, name]


def remove_argv(name: str, program: str, names: Sequence[str] = (), *, some_gone: bool = False) -> list[str]:
    """End containers at once and remove them. `some_gone`: some may be gone by now, which must cost no other its end.

    podman would take all of them for broken then, and may only forget them; docker goes on by itself.
    """
    podman = [*(["--ignore"] if some_gone else []), "--time", "0"] if name == "podman" else []
    return [program, "rm", "--force", "--volumes", *podman, *names]


def list_argv(program: str, run_dir: str) -> list[str]:
    """The ids of a server's containers, one a line, whatever state they are in."""
    return [program, "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={RUN_DIR_LABEL}={run_dir}"]


def version_argv(name: str, program: str) -> list[str]:
    """The engine's version; fails where a daemon is needed and does not answer."""
    whose = "Client" if name == "podman" else "Server"
    return [program, "version", "--format", f"{{{{.{whose}.Version}}}}"]


def labels_argv(program: str, image: str) -> list[str]:
    """The labels of an image as JSON; fails where there is no such image."""
    return [program, "image", "inspect", "--format", "{{json .Config.Labels}}", image]


def reaper_argv(runtime: ContainerRuntime, run_dir: str) -> list[str]:
    """A shell that waits for the end of its input, and so of the server, and removes the containers that are left.

    It looks again until a look finds none, and nothing that could still make one was there before that look.
    """
    remove = shlex.join(remove_argv(runtime.name, runtime.program, some_gone=True))
    looks = " ".join(map(str, range(REAPER_LOOKS)))
    script = REAPER.format(
        run_dir=shlex.quote(run_dir), left=shlex.join(list_argv(runtime.program, run_dir)), remove=remove, looks=looks
    )
    return ["/bin/sh", "-c", script]


def with_runtime(runtime: ContainerRuntime, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A kernel's rows of `walls`; what it found its container to be, before any user code, gets the engine's name."""
    named = f"{runtime.name} {runtime.version}: "
    return [{**row, "detail": named + row["detail"]} if row["name"] == "container" else row for row in rows]


def fallback_row(why: SandboxUnavailable) -> dict[str, Any]:
    """The row of `walls` for a kernel that was to run in a container and does not."""
    detail = f"{why.message} The process walls hold this kernel instead (RLM_SANDBOX_FALLBACK=process)."
    return {"name": "container", "holds": False, "detail": detail, "remedy": why.next_step}


def unfit_system(platform: str) -> SandboxUnavailable:
    """Container mode needs the engine's containers to run on the server's own Linux."""
    return SandboxUnavailable(
        f"Container mode needs Linux, and this is {platform}: the kernel's sockets do not cross the virtual machine in "
        "which an engine runs its containers here.",
        "Run the whole server inside a Linux container or virtual machine; the process walls hold there.",
    )


def runtime_missing(runtime: str) -> SandboxUnavailable:
    """No client program of this name."""
    package = {"podman": "podman", "docker": "docker.io"}[runtime]
    return SandboxUnavailable(
        f"The container engine {runtime!r} (RLM_SANDBOX_CONTAINER_RUNTIME) is not on the PATH.",
        f"Install it (Debian: `apt-get install {package}`), then run `bin/build-image --runtime {runtime}`.",
    )


def runtime_unreachable(runtime: str) -> SandboxUnavailable:
    """The client program is there but the engine does not answer; the log has what it said."""
    start = "start it (`systemctl start docker`) and let this user reach it" if runtime == "docker" else "fix that"
    return SandboxUnavailable(
        f"The container engine {runtime!r} is installed, but does not answer.",
        f"`{runtime} version` says why: {start}, then try again.",
    )


def image_missing(runtime: str, image: str) -> SandboxUnavailable:
    """The engine has no such image."""
    return SandboxUnavailable(
        f"The container engine {runtime!r} has no image {image!r} (RLM_SANDBOX_CONTAINER_IMAGE).",
        f"Run `{build_command(runtime, image)}` in the checkout of rlm-kernel-mcp.",
    )


def image_outdated(runtime: str, image: str, found: str | None) -> SandboxUnavailable:
    """The image holds the kernel of another version, or none of ours."""
    what = f"another version's kernel code ({found}; here {kernel_code()})" if found else "no rlm-kernel-mcp kernel"
    return SandboxUnavailable(
        f"The image {image!r} holds {what}.",
        f"Run `{build_command(runtime, image)}` in the checkout of rlm-kernel-mcp.",
    )


def run_failed(runtime: ContainerRuntime, status: int) -> SandboxUnavailable:
    """The engine started no kernel; the log has what it said."""
    return SandboxUnavailable(
        f"{runtime.name} {runtime.version} could not start the container (its exit status: {status}).",
        "The server's log (stderr) has what the engine said.",
    )


def unseen() -> SandboxUnavailable:
    """The engine's processes are not this server's to see: it runs in a container of its own."""
    return SandboxUnavailable(
        "The kernel's process cannot be seen from the server, so what it uses could not be measured.",
        "Run the server on the same system as the container engine, outside of any container.",
    )


def build_command(runtime: str, image: str) -> str:
    """The command that makes the image."""
    named = "" if image == "rlm-kernel:latest" else f" --image {shlex.quote(image)}"
    return f"bin/build-image --runtime {runtime}{named}"


def _tmpfs(runtime: ContainerRuntime, path: str, size_mb: int, files: int) -> str:
    """A bounded tmpfs. podman cannot bound its files: the walls inside put their own over it, or make it read-only."""
    inodes = "" if runtime.name == "podman" else f",nr_inodes={files}"
    return f"{path}:{'rw' if size_mb else 'ro'},nosuid,nodev,noexec,size={max(1, size_mb)}m,mode=1777{inodes}"


def _no_proxies() -> dict[str, str]:
    return {name: "" for upper in PROXY_VARIABLES for name in (upper, upper.lower())}
