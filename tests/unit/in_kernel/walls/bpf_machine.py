"""A classic-BPF interpreter of the size that seccomp filters need, to see what a filter answers to a call."""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

from rlm_kernel_mcp.in_kernel.walls.filters import bpf, programs

WORD = 0xFFFFFFFF

kernel_filter: Final = cache(programs.kernel_filter)
"""Each filter is made once for all tests: a test asks it hundreds of times."""


def answer(program: bpf.Body, arch: int, number: int, *arguments: int) -> int:
    """What the filter returns for one system call (64-bit arguments; what is not given is 0)."""
    words = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("=IIQ6Q", number & WORD, arch, 0, *words)
    accumulator, index, place = 0, 0, 0
    while True:
        step = program[place]
        place += 1
        match step.code:
            case bpf.LOAD:
                (accumulator,) = struct.unpack_from("=I", data, step.k)
            case bpf.AND:
                accumulator &= step.k
            case bpf.TO_INDEX:
                index = accumulator
            case bpf.ADD_INDEX:
                accumulator = accumulator + index & WORD
            case bpf.RETURN:
                return step.k
            case bpf.JUMP_EQUAL:
                place += step.jt if accumulator == step.k else step.jf
            case bpf.JUMP_GREATER_OR_EQUAL:
                place += step.jt if accumulator >= step.k else step.jf
            case bpf.JUMP_ANY_BIT:
                place += step.jt if accumulator & step.k else step.jf
            case _:
                raise AssertionError(f"no such instruction: {step}")
