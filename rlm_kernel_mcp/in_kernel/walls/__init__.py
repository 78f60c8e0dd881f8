"""The walls that hold a kernel: rlimits, capabilities, Landlock, seccomp, namespaces. A wall.

Is: what `in_kernel/ipython/app.py` raises around itself, in numbered steps that fail closed. Is not: a check inside the
interpreter. Above: `in_kernel/ipython/app.py`, `in_kernel/probe.py`. Below: the standard library and the Linux kernel.

The calls, in this order, by the process that becomes the kernel (single thread, all imports done):

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
    soft_memory(on: bool) -> None               # True at the start of a step, False at its end and in showtraceback
    WallFailed(wall: str, reason: str, remedy: str)     # Exception; attributes of the same names
    WallStatus(name: str, holds: bool, detail: str, remedy: str = "")   # frozen; dataclasses.asdict for the wire

`policy` is the parsed `policy.json`. `scratch` and `socket_dir` exist, are absolute and belong to the caller.
`scratch` is the path that the namespace's `scratch` name shows: in tier `ns` a fresh tmpfs lies on it (the outside
directory stays empty), else it is read-only; `raised.scratch_writable` says which. Working directory afterwards:
`scratch`. `read_only`: what else user code may read (an IPYTHONDIR). The Python installation and this package are in
anyway.

`announce(pid, pidfd)` is called exactly once, before any wait, with the kernel's pid as the caller's pid namespace
numbers it: in the monitor when there is one, else in the kernel itself. The pidfd is closed after the call: pass it
on (SCM_RIGHTS) inside it. The monitor then closes every descriptor it has, gives up its rights, relays SIGINT,
SIGTERM, SIGUSR1 and SIGXCPU, reaps, and ends as the kernel ended (same exit code, or by the same signal).
The kernel dies with its monitor, and the monitor with the process that forked it (PR_SET_PDEATHSIG).

In tier `ns` the kernel is pid 1 of its own pid namespace, session and process group (1), and nothing of /proc is there:
- a signal whose action is the default is ignored: install handlers for SIGTERM (exit), SIGXCPU and SIGUSR1, and keep
  Python's SIGINT; only SIGKILL from outside works without one;
- `killpg(1)` would mean everybody and is refused: `_send_interrupt_children` must be `os.kill(os.getpid(), SIGINT)`.
In both tiers nothing can be mapped executable after lock B: import every extension module before lock A.

A fork server calls `namespaces.refusal()` once before it serves: that they are given (a trial of about 5 ms) is
remembered by every fork.
"""
