"""Becomes another program, confined in one way: confined.py KIND[,KIND...] CHECKOUT DIRECTORY PROGRAM ARGUMENTS...

DIRECTORY stays writable under Landlock; everything else can only be read.
"""

import ctypes
import os
import struct
import sys

NAMESPACES = {"mnt": 0x00020000, "uts": 0x04000000, "ipc": 0x08000000, "net": 0x40000000}
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
    user, group = os.getuid(), os.getgid()
    flags = NAMESPACES[name] if user == 0 else NAMESPACES[name] | 0x10000000
    checked(libc.unshare(flags))
    if user:
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


def main() -> None:
    kinds, checkout, directory, *argv = sys.argv[1:]
    for kind in kinds.split(","):
        if kind == "landlock":
            landlock(checkout, directory)
        elif kind in NAMESPACES:
            namespace(kind)
        else:
            {"no_new_privs": no_new_privs, "seccomp": seccomp}[kind]()
    os.execv(argv[0], argv)


main()
