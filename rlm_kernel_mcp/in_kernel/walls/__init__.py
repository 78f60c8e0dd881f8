"""The walls that hold a kernel: rlimits, capabilities, Landlock, seccomp, namespaces. A wall.

Is: what `in_kernel/launch.py` raises around itself, in numbered steps that fail closed. Is not: a check inside the
interpreter. Above: `in_kernel/launch.py`, `in_kernel/probe.py`, `in_kernel/loader/process.py`. Below: the standard
library and the Linux kernel.

The process that becomes the kernel calls these in order, while it has one thread and everything is imported:

    from rlm_kernel_mcp.in_kernel.walls.plan import WallFailed, WallPlan, WallStatus, plan_from_policy
    from rlm_kernel_mcp.in_kernel.walls.raising import Raised, enter_namespaces, raise_lock_a, raise_lock_b
    from rlm_kernel_mcp.in_kernel.walls.limits import soft_memory

    plan = plan_from_policy(policy, scratch=..., socket_dir=..., read_only=(...))
    raised = enter_namespaces(plan, announce)   # returns in the kernel; the monitor (if any) never returns
    raise_lock_a(raised)                        # rlimits, capabilities, no_new_privs, Landlock, seccomp stage A
    app.initialize(...)                         # binds the ipc sockets, starts threads; zmq contexts are made here
    raise_lock_b(raised)                        # memory limit, seccomp stage B on every thread
    raised.rows                                 # tuple[WallStatus, ...]: one row per name of policy.WallName

    plan_from_policy(policy: Mapping, *, scratch: str, socket_dir: str, read_only: Sequence[str] = ()) -> WallPlan
    enter_namespaces(plan: WallPlan, announce: Callable[[int, int], None] | None = None) -> Raised
    raise_lock_a(raised: Raised) -> None
    raise_lock_b(raised: Raised) -> None
    soft_memory(on: bool) -> None               # True at the start of a step, False at its end
    WallFailed(wall: str, reason: str, remedy: str)     # Exception; attributes of the same names
    WallStatus(name: str, holds: bool, detail: str, remedy: str = "")   # frozen; dataclasses.asdict for the wire

`policy` is the parsed `policy.json`. `scratch` and `socket_dir` exist, are absolute and belong to the caller.
`scratch` is the path that user code sees as `scratch`, and the working directory afterwards. In tier `ns` a fresh
tmpfs is mounted on it (the directory outside stays empty); elsewhere it is read-only. `raised.scratch_writable` says
which. `read_only`: what else user code may read (an IPYTHONDIR); the Python installation and this package always are.

`announce(pid, pidfd)` is called exactly once, before any wait, with the kernel's pid in the caller's pid namespace:
by the monitor if there is one, otherwise by the kernel itself. The pidfd is closed when the call returns, so pass it
on (SCM_RIGHTS) within the call. The monitor then closes its other descriptors, gives up its rights, relays SIGINT,
SIGTERM, SIGUSR1, SIGUSR2 and SIGXCPU, reaps the kernel, and ends as the kernel ended (same exit code or signal).
The kernel dies with its monitor, and the monitor with the process that forked it (PR_SET_PDEATHSIG).

In tier `ns` the kernel is pid 1 of its own pid namespace, session and process group (1), and /proc is not mounted:
- the default action of a signal does not apply to pid 1 (pid_namespaces(7)): install handlers for SIGTERM (exit),
  SIGXCPU and SIGUSR1, and keep Python's SIGINT; only SIGKILL from outside works without a handler;
- `killpg(1)` would signal everybody and is refused: `_send_interrupt_children` must be `os.kill(os.getpid(), SIGINT)`.
In both tiers nothing can be mapped executable after lock B: import every extension module before lock A.

A fork server calls `namespaces.refusal()` once before it serves: the trial takes about 5 ms, and every fork inherits
its success.
"""
