"""Classic BPF over `struct seccomp_data`: instructions, small bodies, packing. A wall.

Is: pure functions, the same on every machine. Is not: a choice of system calls. Above: `programs.py`.
Below: the standard library. Source: linux/bpf_common.h, linux/seccomp.h.

A *body* is what runs once the system call is known; it always ends in a return. Both machines are little-endian. Of
every argument that is tested here the kernel reads 32 bits, unless a body says otherwise.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

# Opcodes of linux/bpf_common.h: class, size and mode, or'ed. Classic BPF has one accumulator and one index register,
# 32 bits wide, and jumps forward only, so a filter always ends.
LOAD: Final = 0x20
JUMP_EQUAL: Final = 0x15
JUMP_GREATER_OR_EQUAL: Final = 0x35
JUMP_ANY_BIT: Final = 0x45
AND: Final = 0x54
ADD_INDEX: Final = 0x0C
TO_INDEX: Final = 0x07
RETURN: Final = 0x06

# `struct seccomp_data` (seccomp(2)): int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6].
NUMBER_OFFSET: Final = 0
ARCH_OFFSET: Final = 4
ARGUMENTS_OFFSET: Final = 16

KILL_PROCESS: Final = 0x80000000
ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
REFUSE: Final = _ERRNO | errno.EPERM
UNKNOWN: Final = _ERRNO | errno.ENOSYS
"""Answered where a library falls back to another call when one does not exist."""

# `jt` and `jf` of `struct sock_filter` are bytes.
MAX_JUMP: Final = 255


class Instruction(NamedTuple):
    """One instruction: `jt` and `jf` are how many instructions are skipped when the test holds, or does not."""

    code: int
    k: int
    jt: int = 0
    jf: int = 0


Body = tuple[Instruction, ...]

ALLOWED: Final[Body] = (Instruction(RETURN, ALLOW),)
NOT_THERE: Final[Body] = (Instruction(RETURN, UNKNOWN),)
REFUSED: Final[Body] = (Instruction(RETURN, REFUSE),)
_OTHERWISE_REFUSED: Final = Instruction(RETURN, REFUSE)
NO_USERS_ADDRESS: Final = 0xFF000000
"""The top byte of an address, in its upper word: aarch64 ignores it (a tag) when it maps and unmaps."""


def low_word(argument: int) -> Instruction:
    """Load the 32 bits of an argument that the kernel reads of an int."""
    return Instruction(LOAD, ARGUMENTS_OFFSET + 8 * argument)


def high_word(argument: int) -> Instruction:
    """Load the upper 32 bits of an argument."""
    return Instruction(LOAD, ARGUMENTS_OFFSET + 8 * argument + 4)


def one_of(argument: int, values: Iterable[int], then: Body = ALLOWED) -> Body:
    """`then` if an int argument is one of the values, else refused."""
    wanted = [value & 0xFFFFFFFF for value in values]
    # Each match jumps over the remaining tests and over the refusal behind them.
    tests = [Instruction(JUMP_EQUAL, value, len(wanted) - place) for place, value in enumerate(wanted)]
    return (low_word(argument), *tests, _OTHERWISE_REFUSED, *then)


def masked_one_of(argument: int, mask: int, values: Iterable[int], then: Body = ALLOWED) -> Body:
    """`then` if an int argument is one of the values once only the bits of the mask are left, else refused."""
    load, *rest = one_of(argument, values, then)
    return (load, Instruction(AND, mask & 0xFFFFFFFF), *rest)


def equal_or(argument: int, value: int, then: Body, otherwise: Body) -> Body:
    """`then` if an int argument is the value, else `otherwise`."""
    return (low_word(argument), Instruction(JUMP_EQUAL, value, 0, len(then)), *then, *otherwise)


def no_bit_of(argument: int, bits: int, then: Body = ALLOWED) -> Body:
    """`then` if none of the bits is set in an argument of which only the lower word counts, else refused."""
    return (low_word(argument), Instruction(JUMP_ANY_BIT, bits, 0, 1), _OTHERWISE_REFUSED, *then)


def if_any_bit_of(argument: int, bits: int, then: Body, otherwise: Body) -> Body:
    """`then` if any of the bits is set in an argument of which only the lower word counts, else `otherwise`."""
    return (low_word(argument), Instruction(JUMP_ANY_BIT, bits, 0, len(then)), *then, *otherwise)


def not_all_bits_of(argument: int, bits: int, then: Body = ALLOWED) -> Body:
    """`then` if not all of the bits are set together, else refused."""
    test = (Instruction(AND, bits), Instruction(JUMP_EQUAL, bits, 0, 1))
    return (low_word(argument), *test, _OTHERWISE_REFUSED, *then)


def equal_but_for(argument: int, value: int, ignored_bits: int, then: Body = ALLOWED) -> Body:
    """`then` if an int argument is the value once the ignored bits are cleared, else refused."""
    test = (Instruction(AND, ~ignored_bits & 0xFFFFFFFF), Instruction(JUMP_EQUAL, value, 1))
    return (low_word(argument), *test, _OTHERWISE_REFUSED, *then)


def null(argument: int, then: Body = ALLOWED) -> Body:
    """`then` if an address is NULL (both words), else refused."""
    # A filter sees an address, not what lies there (and another thread could change that): only NULL is safe.
    return (
        high_word(argument),
        Instruction(JUMP_EQUAL, 0, 0, 2),
        low_word(argument),
        Instruction(JUMP_EQUAL, 0, 1),
        _OTHERWISE_REFUSED,
        *then,
    )


def if_touches(address: int, length: int, first: int, end: int, then: Body, otherwise: Body) -> Body:
    """`then` if a range of addresses may overlap those from `first` to before `end`, else `otherwise`.

    Only upper words are compared, so a range that ends less than 4 GB below `first` may count as overlapping. Where the
    sum wraps, a range may count as outside: it runs past the end of all addresses, and the kernel refuses it itself.

    Args:
        address: which argument has the first address of the range.
        length: which argument has its length in bytes.
        first: the first protected address, a multiple of 4 GB.
        end: the first address behind them, a multiple of 4 GB.
        then: what runs if it may overlap.
        otherwise: what runs if it cannot.
    """
    # The upper word of address + length is the sum of both upper words, or one more with the carry of the lower words,
    # which 32-bit arithmetic cannot see: hence the -1.
    return (
        high_word(address),
        Instruction(JUMP_ANY_BIT, NO_USERS_ADDRESS, 6),
        Instruction(JUMP_GREATER_OR_EQUAL, end >> 32, 5 + len(then)),
        high_word(length),
        Instruction(TO_INDEX, 0),
        high_word(address),
        Instruction(ADD_INDEX, 0),
        Instruction(JUMP_GREATER_OR_EQUAL, (first >> 32) - 1, 0, len(then)),
        *then,
        *otherwise,
    )


def assemble(arch: int, first_unknown: int, bodies: Iterable[tuple[int, Body]]) -> Body:
    """A whole filter: another architecture is killed, and a number from `first_unknown` on is answered ENOSYS.

    Args:
        arch: AUDIT_ARCH of the machine.
        first_unknown: the smallest number that no call known here has; x86_64's x32 numbers lie above it too.
        bodies: system call number and its body; a call that is not listed is refused.
    """
    # The architecture first: the numbers of i386, which any x86_64 program can call with int 0x80, mean other calls.
    program = [
        Instruction(LOAD, ARCH_OFFSET),
        Instruction(JUMP_EQUAL, arch, 1),
        Instruction(RETURN, KILL_PROCESS),
        Instruction(LOAD, NUMBER_OFFSET),
        Instruction(JUMP_GREATER_OR_EQUAL, first_unknown, 0, 1),
        Instruction(RETURN, UNKNOWN),
    ]
    for number, body in bodies:
        if len(body) > MAX_JUMP or body[-1].code != RETURN:
            raise ValueError(f"the body of system call {number} is too long or does not end in a return")
        program += [Instruction(JUMP_EQUAL, number, 0, len(body)), *body]
    return (*program, _OTHERWISE_REFUSED)


def pack(program: Body) -> bytes:
    """The program as an array of `struct sock_filter`."""
    return b"".join(struct.pack("=HBBI", step.code, step.jt, step.jf, step.k) for step in program)
