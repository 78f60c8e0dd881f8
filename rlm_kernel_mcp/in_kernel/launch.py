"""From a bare process to a locked kernel, in numbered steps that fail closed.

Is: the order in which a kernel comes to be, the same for a cold start and for a fork. Is not: the walls themselves
(`walls/`). Above: `__main__.py`, `fork_server.py`. Below: `preload.py`, `walls/`, `in_kernel/ipython/app.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from rlm_kernel_mcp.in_kernel.inherited import forget_inherited_signals, settle_descriptors, silence_streams
from rlm_kernel_mcp.in_kernel.precedence import tell_weight
from rlm_kernel_mcp.in_kernel.walls import container, syscalls
from rlm_kernel_mcp.in_kernel.walls.package_locations import outside_places
from rlm_kernel_mcp.in_kernel.walls.plan import WallFailed, WallPlan, WallStatus, plan_from_policy
from rlm_kernel_mcp.in_kernel.walls.raising import enter_namespaces, raise_lock_a, raise_lock_b

TIMER_SLACK_NS: Final = 1_000
WITHOUT_PROVISIONER: Final = (
    "Start this kernelspec by a client that knows its provisioner: install rlm-kernel-mcp where the client runs."
)
REASON_CHARS: Final = 1_000
TRACEBACK_CHARS: Final = 4_000
"""Characters of a report on a failed start: both texts fit one datagram, however they are escaped."""
OWNED: Final = "--owned"
NOTEBOOK: Final = "--notebook"
_FLAGS: Final = (
    "-f", "--policy", "--sockets", "--scratch", "--status-fd", "--descriptor-fd", OWNED, NOTEBOOK, "--container",
    "--code",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of a kernel."""

    connection_file: Path
    policy_file: Path
    scratch: Path
    sockets: Path | None
    """The directory of this kernel's sockets and files; None where nobody made one for it."""
    status_fd: int
    descriptor_fd: int
    owned: bool
    """Whether our own host started it."""
    notebook: bool = False
    """Whether a notebook of a session runs again in it (`in_kernel/notebook/replay.py`)."""
    container: str = ""
    """In a container: path of the socket on which the host hands over what a container cannot inherit."""
    code: str = ""
    """In a container: the `kernel_code()` that its image must hold."""


def parse_options(argv: Sequence[str]) -> Options:
    """Read the kernel's command line (`kernel.json` argv, and what the provisioner adds).

    By hand: argparse would write to 1.8 MB of pages that a fork shares with the fork server, in kernel and monitor.
    """
    given: dict[str, str] = {}
    words = iter(argv)
    for flag in words:
        if flag not in _FLAGS or (value := "" if flag in (OWNED, NOTEBOOK) else next(words, None)) is None:
            raise SystemExit(f"rlm-kernel: {flag!r} is not an option, or has no value; there are {', '.join(_FLAGS)}")
        given[flag] = value
    if "-f" not in given or "--policy" not in given:
        raise SystemExit("rlm-kernel: -f CONNECTION_FILE and --policy POLICY must be given")
    return Options(
        connection_file=Path(given["-f"]),
        policy_file=Path(given["--policy"]),
        scratch=Path(given.get("--scratch") or tempfile.mkdtemp(prefix="rlm-scratch-")),
        sockets=Path(given["--sockets"]) if "--sockets" in given else None,
        status_fd=int(given.get("--status-fd", -1)),
        descriptor_fd=int(given.get("--descriptor-fd", -1)),
        owned=OWNED in given,
        notebook=NOTEBOOK in given,
        container=given.get("--container", ""),
        code=given.get("--code", ""),
    )


def launch(options: Options, policy: dict[str, Any]) -> NoReturn:
    """Raise the walls, start the kernel and serve until the process ends. The caller has preloaded."""
    try:
        app = _prepare(options, policy)
    except BaseException as error:  # noqa: BLE001  (the host must hear of whatever kept this kernel from starting)
        give_up(options.status_fd, error)
    app.start()
    os._exit(0)


def give_up(status_fd: int, error: BaseException) -> NoReturn:
    """Report what keeps this kernel from starting, to the host and on descriptor 2, and end the process.

    `sys.stderr` may be ipykernel's by now, which nobody reads any more.
    """
    # The end of it: the exception is in the last lines.
    words = "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
    failed: dict[str, Any] = {"status": "failed", "reason": f"{type(error).__name__}: {error}", "traceback": words}
    if isinstance(error, WallFailed):
        failed |= {"wall": error.wall, "reason": error.reason, "remedy": error.remedy}
    elif isinstance(error, OSError) and error.strerror:
        named = f": {Path(os.fsdecode(error.filename)).name}" if isinstance(error.filename, str | bytes) else ""
        failed["reason"] = f"{type(error).__name__}: {error.strerror}{named}"
    failed["reason"] = failed["reason"][:REASON_CHARS]
    with contextlib.suppress(OSError):  # closed, or a pipe that nobody reads
        os.write(2, words.encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError):  # the host is gone
        tell(status_fd, failed)
    os._exit(3 if isinstance(error, WallFailed) else 1)


def _prepare(options: Options, policy: dict[str, Any]) -> Any:
    """Steps 1 to 6; returns the application, ready for user code."""
    plan = _plan(options, policy)
    rows: list[WallStatus] = []
    if options.container:
        # 0. Nothing of what follows would hold in a container that is not as the host asked for.
        rows = [container.verify(options.code)]
        plan = replace(plan, in_container=True)
    # 1. Namespaces: forks where they are available; the parent stays behind as the monitor.
    procfs = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if sys.platform == "linux" else -1
    raised = enter_namespaces(plan, lambda pid, pidfd: announce(options.status_fd, pid, pidfd))
    if procfs >= 0:
        tell_weight(procfs, options.status_fd)
        os.close(procfs)
    os.chdir(options.scratch)
    # 2. Signals: as pid 1 of a namespace a process ignores what it has no handler for.
    _install_signals()
    # Threads wait microseconds for the interpreter lock (`channels/threads.py`); the system would round that up to 50.
    with contextlib.suppress(OSError):
        syscalls.prctl(syscalls.PR_SET_TIMERSLACK, TIMER_SLACK_NS)
    # 3. Lock A: one thread, no sockets yet.
    raise_lock_a(raised)
    # 4. The application binds its ipc sockets and starts its threads, which inherit lock A.
    from rlm_kernel_mcp.in_kernel.courtesies.wording import note_memory_limit
    from rlm_kernel_mcp.in_kernel.ipython.app import make_app

    serve_a_person = _for_a_person()  # all of it is imported by now

    if options.container:
        # libzmq makes its sockets with the umask of the process, and offers no mode of its own.
        os.umask(0)  # the host is another user than the kernel; only it and the container can reach the directory
    note_memory_limit(policy["limits"]["memory_mb"])
    app = make_app(options.connection_file, policy, options.scratch)
    os.umask(0o077)
    # 5. Lock B: on every thread.
    raise_lock_b(raised)
    if options.owned:
        app.kernel.belong_to_host()
    elif options.notebook:
        app.kernel.belong_to_notebook()
    else:
        serve_a_person(app, policy)
    app.kernel.wall_rows = [asdict(row) for row in (*rows, *raised.rows)]
    # 6. The last words to the host; user code gets neither this socket nor a standard stream.
    tell(options.status_fd, {"status": "ready", "walls": app.kernel.wall_rows})
    _silence(options.status_fd)
    return app


def _for_a_person() -> Callable[[Any, dict[str, Any]], None]:
    """What is done where another Jupyter client started this kernel."""
    from rlm_kernel_mcp.in_kernel.asking import state as asking
    from rlm_kernel_mcp.in_kernel.channels.figures import show_figures_inline
    from rlm_kernel_mcp.in_kernel.courtesies.wording import speak_to_a_person

    def serve(app: Any, policy: dict[str, Any]) -> None:
        speak_to_a_person()
        asking.speak_to_a_person()
        show_figures_inline()
        if policy["imports"]["mode"] == "any":
            app.offer_debugger()

    return serve


def _plan(options: Options, policy: dict[str, Any]) -> WallPlan:
    if options.sockets is None and any(policy["walls"].values()):
        # A Jupyter client's directory holds other kernels' keys: what lies around a connection file is never granted.
        raise WallFailed("landlock", "nobody made a directory for this kernel's sockets.", WITHOUT_PROVISIONER)
    return plan_from_policy(
        policy,
        scratch=str(options.scratch),
        socket_dir=str(options.sockets or options.connection_file.parent),
        read_only=outside_places(policy["imports"]["mode"] == "any"),
    )


def announce(status_fd: int, pid: int, pidfd: int) -> None:
    """Say who the process is, with a pidfd of it."""
    if status_fd >= 0:
        # A copy: closing it must leave the original for `tell`.
        with socket.socket(fileno=os.dup(status_fd)) as status:
            socket.send_fds(status, [json.dumps({"pid": pid}).encode()], [pidfd])


def tell(status_fd: int, message: dict[str, Any]) -> None:
    """Say something to the host, where there is one."""
    if status_fd >= 0:
        os.write(status_fd, json.dumps(message).encode())


def _silence(status_fd: int) -> None:
    if status_fd < 0:
        return
    silence_streams()
    os.close(status_fd)


def _install_signals() -> None:
    """Turn limits that arrive as signals into exceptions of the running step; between steps they do nothing."""
    from rlm_kernel_mcp.in_kernel.courtesies.wording import out_of_memory_words, wording

    def in_step() -> bool:
        from rlm_kernel_mcp.in_kernel.ipython.kernel import RlmKernel

        return RlmKernel.initialized() and RlmKernel.instance().in_step

    def memory(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if in_step():
            raise MemoryError(out_of_memory_words())

    def processor(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if in_step():
            raise TimeoutError(f"the {wording().cell}'s processor time limit is reached")

    def snapshot(signum: int, frame: FrameType | None) -> None:
        """The next step waits: have a snapshot that is under way give way."""
        del signum, frame
        from rlm_kernel_mcp.in_kernel.ipython.kernel import RlmKernel

        if RlmKernel.initialized():
            RlmKernel.instance().snapshots.interrupt()

    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGUSR2, snapshot)
    signal.signal(signal.SIGUSR1, memory)
    signal.signal(signal.SIGXCPU, processor)
    signal.signal(signal.SIGTERM, lambda signum, frame: os._exit(128 + signum))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(argv: Sequence[str]) -> NoReturn:
    """Cold start: read the policy, import everything, launch."""
    forget_inherited_signals()
    options = parse_options(argv)
    try:
        if options.container:
            status_fd, descriptor_fd = _take_ends(options.container)
            options = replace(options, status_fd=status_fd, descriptor_fd=descriptor_fd)
        options = replace(options, status_fd=settle_descriptors(options.status_fd, options.descriptor_fd))
        policy = json.loads(options.policy_file.read_text(encoding="utf-8"))
        from rlm_kernel_mcp.in_kernel.preload import preload

        preload(policy)
    except BaseException as error:  # noqa: BLE001  (as in `launch`)
        give_up(options.status_fd, error)
    sys.argv = ["rlm-kernel"]
    launch(options, policy)


def _take_ends(path: str) -> tuple[int, int]:
    """Take the status and the descriptor socket from the host."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(path)
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
    status_fd, passed = descriptors
    return status_fd, passed
