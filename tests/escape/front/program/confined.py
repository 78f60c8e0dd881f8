"""Becomes another program, confined in one way: confined.py KIND[,KIND...] CHECKOUT DIRECTORY PROGRAM ARGUMENTS...

DIRECTORY stays writable under Landlock; everything else can only be read.
"""

import ctypes
import os
import struct
import sys
import tempfile

NAMESPACES = {"mnt": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "net": 0x40000000}
USER, PROCESSES, MOUNTS = 0x10000000, 0x20000000, 0x00020000
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def no_new_privs() -> None:
    checked(libc.prctl(38, 1, 0, 0, 0))


def seccomp() -> None:
    allow_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(allow_all))
    checked(libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0))


def namespace(name: str) -> None:
    _unshared(NAMESPACES[name], os.getuid() != 0)


def user() -> None:
    _unshared(0, True)


def pid() -> None:
    """In a namespace of processes, with a /proc of its own; what started it ends with it, and it with that."""
    _unshared(PROCESSES | MOUNTS, os.getuid() != 0)
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    checked(libc.prctl(1, 9, 0, 0, 0))
    checked(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))
    checked(libc.mount(b"proc", b"/proc", b"proc", 0, None))


def groups() -> None:
    os.setgroups([12_345])


def bounding() -> None:
    """One right less that could be had by a program with file capabilities: CAP_AUDIT_CONTROL."""
    checked(libc.prctl(24, 30, 0, 0, 0))


def root() -> None:
    """The same tree, by another root directory."""
    _unshared(MOUNTS, False)
    top = tempfile.mkdtemp()
    checked(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))
    checked(libc.mount(b"/", top.encode(), None, 0x1000 | 0x4000, None))
    os.chroot(top)
    os.chdir(os.environ.get("PWD", "/"))


def without_namespaces(checkout: str) -> None:
    """As docker's default profile: unshare(2) fails."""
    sys.path.insert(0, checkout)
    from rlm_kernel_mcp.in_kernel.walls.filters import bpf
    from tests.escape.walls.program.hiding import hide

    hide(["unshare"], bpf.REFUSE)


def _unshared(flags: int, with_users: bool) -> None:
    user, group = os.getuid(), os.getgid()
    checked(libc.unshare(flags | USER if with_users else flags))
    if with_users:
        for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as handle:
                handle.write(line)


def landlock(checkout: str, directory: str) -> None:
    sys.path.insert(0, checkout)
    from rlm_kernel_mcp.in_kernel.walls import landlock as wall

    tops = [f"/{name}" for name in os.listdir("/")]
    rules = [(top, wall.READ | wall.EXECUTE) for top in tops if top not in ("/tmp", "/home")]
    rules += [("/dev", wall.READ | wall.WRITE_FILE), (checkout, wall.READ | wall.EXECUTE)]
    rules += [(os.path.dirname(os.path.dirname(os.path.realpath(sys.executable))), wall.READ | wall.EXECUTE)]
    wall.restrict([*rules, (directory, (1 << 16) - 1)], behind_namespaces=True)


KINDS = {
    "no_new_privs": no_new_privs,
    "seccomp": seccomp,
    "user": user,
    "pid": pid,
    "groups": groups,
    "bounding": bounding,
    "root": root,
}


def main() -> None:
    kinds, checkout, directory, *argv = sys.argv[1:]
    for kind in kinds.split(","):
        if kind == "landlock":
            landlock(checkout, directory)
        elif kind == "without_namespaces":
            without_namespaces(checkout)
        elif kind in NAMESPACES:
            namespace(kind)
        else:
            KINDS[kind]()
    os.execv(argv[0], argv)


main()
