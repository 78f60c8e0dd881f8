"""The front of the host: hands a client's pipes to the one host of this user, and then only waits.

Is: one file for `python -I -S` that imports next to nothing. It finds or starts the host, each looks at the other, and
it passes streams, working directory and roots as descriptors that it opened with its own rights. After a host's death
it has answered what that left unanswered, and goes on with the next; where there can be none it becomes the server.
Is not: a relay, no byte of a client passes here. What both ends must agree on stands here alone. Above: `host/`.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORD = b"rlm-host 1"
"""The protocol between fronts and hosts. It is frozen: a front of an old version may stay for days."""
PASSED_ON = ("RLM_", "JUPYTER_", "HOME", "TZ", "XDG_DATA_HOME", "XDG_STATE_HOME")  # how what a host hears of begins
PROOF_NAME, ASKS_MORE = "host.proof", {"RLM_SUBCALL_BACKEND", "RLM_OTEL"}  # what may have it hear of more than that
PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
NAMESPACES = ("mnt", "user", "pid", "net", "ipc", "uts", "cgroup")
STATUS = ("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Seccomp_filters")
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
LABELS = ("current", "apparmor/current", "smack/current")
ENOENT, EAGAIN, EINVAL, ENOPROTOOPT, ECONNREFUSED = 2, 11, 22, 92, 111
SO_PEERPIDFD = 77


class NoHost(Exception):
    """There can be no host for this client; the text says why."""


def state_dir(environ: dict[str, str]) -> str:
    """Where the records are kept, whatever way leads there; the host refuses what its settings find elsewhere."""
    if given := environ.get("RLM_STATE_DIR"):
        return os.path.realpath(os.path.expanduser(given))
    base = environ.get("XDG_STATE_HOME", "")
    base = base if base.startswith("/") else (environ.get("HOME") or os.path.expanduser("~")) + "/.local/state"
    return os.path.realpath(base + "/rlm-kernel-mcp")


def read(path: str) -> str:
    with open(path, "rb", 0) as file:
        return file.read(65_536).decode("utf-8", "surrogateescape")


def confinement(pid: int | str, own: dict[str, str] | None = None) -> dict[str, str]:
    """What the kernel says of a process that decides what it may reach, by name. Raises: OSError: it cannot be read.

    Its root may lie where nobody ever answers: it is touched only where nothing else differs from `own`.
    """
    links, rows = [(name + " namespace", f"ns/{name}", os.readlink) for name in NAMESPACES], dict[str, str]()
    for name, path, look in (*links, *(("label " + name, f"attr/{name}", read) for name in LABELS)):
        try:
            rows[name] = look(f"/proc/{pid}/{path}").strip("\0\n")
        except OSError as error:
            if error.errno not in (ENOENT, EINVAL):  # these say that this system has nothing of that kind
                raise
            rows[name] = ""
    root = rows["root directory"] = os.readlink(f"/proc/{pid}/root")
    if own and own["root directory"].endswith(f" {root}"):
        rows["root directory"] = own["root directory"]
    status = dict(line.partition(":")[::2] for line in read(f"/proc/{pid}/status").splitlines())
    for name in STATUS + CAPABILITIES:
        rows[name] = " ".join(status.get(name, "").split())
    if not own or rows == own:
        found = os.stat(f"/proc/{pid}/root")
        rows["root directory"] = f"{found.st_dev} {found.st_ino} {root}"
    return rows


def differences(own: dict[str, str], theirs: dict[str, str]) -> str:
    """The names of what two processes are confined by differently."""
    return ", ".join(name for name in sorted({*own, *theirs}) if own.get(name) != theirs.get(name))


def fingerprint(texts: list[str]) -> str:
    """A hash for a socket's name; whether it is the right host, both ends find out by the texts themselves."""
    number = 0x6C62272E07BB014262B821756295C58D  # FNV-1a of 128 bits: hashlib takes as long as all the rest
    for byte in "\0".join(texts).encode("utf-8", "surrogateescape"):
        number = (number ^ byte) * 0x1000000000000000000013B & (1 << 128) - 1
    return f"{number:032x}"


def check_directory(path: str) -> None:
    """Raises: NoHost: it is not a directory, or not this user's alone."""
    found = os.lstat(path)
    if found.st_mode & 0o170000 != 0o040000 or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoHost(f"{path} is not a directory of this user alone")


def peer_of(sock: _socket.socket) -> tuple[int, int, int]:
    """Pid, uid and a descriptor of the process at the other end; the descriptor tells whether the pid is still its."""
    cred = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    pid, uid = (int.from_bytes(cred[at : at + 4], sys.byteorder) for at in (0, 4))
    try:
        return pid, uid, int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, SO_PEERPIDFD, 4), sys.byteorder)
    except OSError as error:
        if error.errno != ENOPROTOOPT or not pid:
            raise
        return pid, uid, os.pidfd_open(pid)  # before Linux 6.5


def is_still(pid: int, pidfd: int) -> bool:
    """Whether the number is still that process's: what was read below /proc/PID was its, if asked afterwards."""
    return f"\nPid:\t{pid}\n" in read(f"/proc/self/fdinfo/{pidfd}")


def program(pid: int | str) -> tuple[int, int, list[str]]:
    """Which file a process runs, and the arguments that it shows. A fence and not a wall: both can be had."""
    found = os.stat(f"/proc/{pid}/exe")
    return found.st_dev, found.st_ino, read(f"/proc/{pid}/cmdline").split("\0")[1:-1]


def secret_of(pid: int, descriptor: str) -> str:
    """The secret in a file's name: who may not see into that process, because of Landlock too, cannot read it."""
    return os.readlink(f"/proc/{pid}/fd/{int(descriptor)}").removeprefix("/memfd:rlm-").removesuffix(" (deleted)")


def new_secret() -> tuple[str, int]:
    secret = os.urandom(16).hex()
    return secret, os.memfd_create("rlm-" + secret, os.MFD_CLOEXEC)


class Place:
    """Where the host of a client is to be: the same from a login, cron, ssh and an editor with a TMPDIR of its own."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self.confined = confinement("self")
        self.state = state_dir(environ)
        # Read anew each time: it may be another by the time that a host has died.
        self.version = read(PACKAGE + "/__init__.py").partition('__version__ = "')[2].partition('"')[0]
        self.directory = environ.get("RLM_HOST_DIR") or f"/tmp/rlm-kernel-mcp-{os.getuid()}"  # noqa: S108  (checked)
        texts = [PACKAGE, os.path.dirname(sys.executable), sys.version, self.state, environ.get("RLM_CLUSTER") or "off"]
        self.stem = f"{self.directory}/{fingerprint([*texts, *self.confined.values()])}-"
        self.at(self.version)

    def at(self, version: str) -> None:
        """Look for a host of that version."""
        self.socket, self.lock = f"{self.stem}{version}.sock", f"{self.stem}{version}.lock"
        self.host = [sys.executable, "-I", "-m", "rlm_kernel_mcp.host.main", self.socket]

    def connect(self, wait_s: float) -> _socket.socket | None:
        """A socket to the host; None where there is none. EPERM and its like are a sandbox's, and no dead host."""
        self.end = time.monotonic() + wait_s  # of all that is said there
        try:
            check_directory(self.directory)
            found = os.lstat(self.socket)
        except FileNotFoundError:
            return None
        if found.st_mode & 0o170000 != 0o140000 or found.st_uid != os.getuid():
            raise NoHost(f"{self.socket} is not a socket of this user")
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        sock.settimeout(wait_s)
        try:
            sock.connect(self.socket)
        except OSError as error:
            sock.close()
            if error.errno not in (ENOENT, ECONNREFUSED, EAGAIN):
                raise
            return None
        return sock

    def look_at(self, pid: int, uid: int, pidfd: int) -> None:
        """Raises: NoHost: that is no host of ours, confined as we are. ConnectionError: it has ended."""
        if uid != os.getuid():
            raise NoHost(f"process {pid}, which listens, belongs to another user")
        try:
            other = differences(self.confined, confinement(pid, self.confined))
            shown = None if other else program(pid)
        except OSError as error:
            other, shown = f"it cannot be looked at ({error.strerror}), so that one of us is in a sandbox", None
        if not is_still(pid, pidfd):
            raise ConnectionResetError
        if other:
            raise NoHost(f"process {pid}, which listens, is confined otherwise: {other}")
        if shown != (*program("self")[:2], self.host[1:]):
            raise NoHost(f"process {pid}, which listens, is no host of this installation")

    def introduced(self, sock: _socket.socket, verb: bytes) -> bytes:
        """Let ourselves be looked at, and look at the host; returns how our second message begins.

        Raises: NoHost: one of us may not have to do with the other. ConnectionError: the host has just ended.
        """
        pid, uid, pidfd = peer_of(sock)
        secret, ours = new_secret()
        try:
            sock.send(b"\0".join((WORD, b"hello", str(ours).encode())))
            answer = said_by(sock, self.end)
            if answer[0] != "seen" or answer[1] != secret:
                raise NoHost(answer[-1] if answer[0] == "no" else f"process {pid} could not see into this one")
            self.look_at(pid, uid, pidfd)
            said = secret_of(pid, answer[2]), self.version, PACKAGE, self.state
            return b"\0".join((WORD, verb, *map(os.fsencode, said)))
        finally:
            os.close(pidfd)
            os.close(ours)

    def hand_over(self, sock: _socket.socket, page: int, options: list[str], opened: list[int]) -> None:
        """Have the host serve our client. Raises: NoHost, ConnectionError, as `introduced`; OSError."""
        heard = ours("needed")["heard"](PASSED_ON, self.environ) if ASKS_MORE & self.environ.keys() else PASSED_ON
        said = [os.fsencode(f"{k}={v}") for k, v in self.environ.items() if k.startswith(heard)]
        data = b"\0".join([self.introduced(sock, b"serve"), *said, *(b"--" + name.encode() for name in options)])
        os.makedirs(self.state, 0o700, exist_ok=True)
        # By our own rights, as `opened` is: that the records may be read and written.
        proof = os.open(f"{self.state}/{PROOF_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2, page, proof, *opened))
            sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
            answer = said_by(sock, self.end)
        finally:
            os.close(proof)
        if answer[0] != "served":
            raise NoHost(answer[-1])
        sock.send(WORD + b"\0go")  # only from here on it reads: we might have ceased to wait


def said_by(sock: _socket.socket, end: float | None = None) -> list[str]:
    """The words of the host's next message. Raises: ConnectionError: it has ended, or just ends. TimeoutError."""
    sock.settimeout(None if end is None else max(end - time.monotonic(), 0.001))
    word, *said = os.fsdecode(sock.recv(4096)).split("\0")
    if word != os.fsdecode(WORD) or not said:
        raise ConnectionResetError
    return said


def directories(environ: dict[str, str]) -> list[int]:
    """The working directory and the roots, which no host that comes later has otherwise. Raises: OSError."""
    os.getcwd()  # it raises where it is gone, while that can still be opened
    roots = [path for path in environ.get("RLM_CONTEXT_ROOTS", "").split(os.pathsep) if path] or ["."]
    return [os.open(path, os.O_DIRECTORY | os.O_CLOEXEC) for path in (".", *map(os.path.expanduser, roots))]


def attach(environ: dict[str, str], options: list[str], page: int, opened: list[int]) -> _socket.socket:
    """The connection to a host that serves our client, which is started if there is none. Raises: NoHost, OSError."""
    wait_s = float(environ.get("RLM_HOST_WAIT_S") or 10)
    end, starts = time.monotonic() + wait_s, 0
    while (left := end - time.monotonic()) > 0:
        place = Place(environ)
        if (sock := place.connect(left)) is None:
            starts += ours("starting")["start"](place)
            if starts > 3:
                raise NoHost(f"it ends as it begins; {place.socket}.log says why")
        else:
            try:
                place.hand_over(sock, page, options, opened)
                return sock
            except (ConnectionError, TimeoutError):
                sock.close()
        time.sleep(0.01)  # one just begins, or just ends
    raise NoHost(f"no host answered within {wait_s:g} s")


def ours(name: str) -> "dict[str, Any]":
    """What stands in another file here that is seldom needed, and has imports that take time."""
    names: dict[str, Any] = {"__name__": name, "NoHost": NoHost, "check_directory": check_directory}
    exec(compile(read(f"{PACKAGE}/front/{name}.py"), name, "exec"), names)  # noqa: S102  (a file of ours)
    return names


def main() -> int:
    """Serve a client until its input ends; returns the exit status."""
    argv, environ, options, deaths = sys.argv[1:], dict(os.environ), list[str](), list[tuple[float, int]]()
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, lambda *_: os._exit(0))  # as the server ends, whatever was inherited
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    os.umask(os.umask(0o077) & ~0o700)  # what is made here must be usable by us
    try:
        if os.open("/dev/null", os.O_RDWR) < 2:  # it is stderr where that is closed
            raise NoHost("stdin or stdout is closed")
        if argv:
            environ, options = ours("options")["with_options"](environ, argv)
        if (environ.get("RLM_HOST") or "auto") != "auto" or environ.get("RLM_SANDBOX_MODE") == "container":
            os._exit(ours("becoming")["become_server"](argv, ""))
        page = os.memfd_create("rlm-page", os.MFD_CLOEXEC)
        environ["RLM_STATE_DIR"] = state_dir(environ)  # found while there is a working directory
        opened = directories(environ)
        sock = attach(environ, options, page, opened)
    except (NoHost, OSError, ValueError) as error:
        os._exit(ours("becoming")["become_server"](argv, str(error)))
    while True:
        try:
            if said_by(sock) == ["end"]:
                return 0
        except OSError:
            sock.close()
        try:
            ours("left")["settle"](page, 1, 2, deaths)
            sock = attach(environ, options, page, opened)
        except (NoHost, OSError, ValueError) as error:
            reason = f"the host has ended, and there is no other: {error}"
            os._exit(ours("becoming")["become_server"](argv, reason, (page, *opened[1:])))


if __name__ == "__main__":
    os._exit(main())
