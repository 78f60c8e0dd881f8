"""How a front starts the host, where nobody listens at its place.

Is: the lock, and the process. Who has the lock starts the host and hands it over; it is held as long as the host lives,
so that there is one. Is not: the place (`front.py`, which loads this file where it needs it, by no import).
"""

import _signal  # type: ignore[import-not-found]
import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rlm_kernel_mcp.front.front import NoHost, Place, check_directory

KEPT = (
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "XDG_STATE_HOME",
    "RLM_HOST_DIR",
    "RLM_HOST_IDLE_S",
    "RLM_CLUSTER",
    "RAY_AUTH_TOKEN_PATH",
)
"""What a host has of the environment of the client that was first. All else comes from each client itself."""

KILLED = 128
"""A status above it says that the host was killed before it listened, and by which signal: another can be had."""


def start(place: "Place") -> bool:
    """Start the host, and say whether we did: another front may do it. Raises: NoHost, OSError: none can be started."""
    os.makedirs(place.directory, 0o700, exist_ok=True)
    check_directory(place.directory)
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _is_ours(place, lock):
            return False
        _spawn(place, lock)
    finally:
        os.close(lock)
    return True


def _is_ours(place: "Place", lock: int) -> bool:
    """Whether nobody else has the lock, and it is the place's still: a host takes it away as it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.lstat(place.lock), os.fstat(lock))
    except (BlockingIOError, FileNotFoundError):
        return False


def _spawn(place: "Place", lock: int) -> None:
    kept = {name: place.environ[name] for name in KEPT if name in place.environ}
    kept |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "RLM_STATE_DIR": place.state, "RLM_HOST_LOCK": str(lock)}
    streams = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    # Not inheritable here: what another thread of a program starts just now would hold the lock beyond the host's end.
    handed = [*streams, (os.POSIX_SPAWN_DUP2, lock, lock)]
    anew = [_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, _signal.SIGCHLD]  # which a program may ignore
    pid = os.posix_spawn(place.host[0], place.host, kept, file_actions=handed, setsigmask=[], setsigdef=anew)
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > place.end:
            raise NoHost("the one that was started does not listen yet")  # the next client may find it
        time.sleep(0.002)
    # 0: it leaves a child of its own, which listens by now. Killed, itself or that: whoever looks next starts another.
    if 0 < os.waitstatus_to_exitcode(ended[1]) <= KILLED:
        raise NoHost(f"none can be started; {place.socket}.log says why")
