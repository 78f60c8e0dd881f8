"""The small bodies that filters are made of, instruction by instruction."""

from __future__ import annotations

import struct

import pytest

from rlm_kernel_mcp.in_kernel.walls.filters import bpf
from tests.unit.in_kernel.walls.bpf_machine import answer

ARCH = 0xC000003E
HIGH = 1 << 32


def decide(body: bpf.Body, *arguments: int) -> int:
    """What a filter with this body for call 7 answers to call 7."""
    return answer(bpf.assemble(ARCH, 400, [(3, bpf.NOT_THERE), (7, body), (9, bpf.NOT_THERE)]), ARCH, 7, *arguments)


CASES = {
    "one of: the first": (bpf.one_of(1, (5, 8, 9)), (0, 5), bpf.ALLOW),
    "one of: the last": (bpf.one_of(1, (5, 8, 9)), (0, 9), bpf.ALLOW),
    "one of: another": (bpf.one_of(1, (5, 8, 9)), (0, 6), bpf.REFUSE),
    "one of: the value in another argument": (bpf.one_of(1, (5, 8, 9)), (5, 0, 5), bpf.REFUSE),
    "one of: a negative int": (bpf.one_of(0, (-40,)), (-40,), bpf.ALLOW),
    "one of: an int whose upper word is dirt": (bpf.one_of(0, (5,)), (5 + HIGH,), bpf.ALLOW),
    "no bit of: none": (bpf.no_bit_of(2, 6), (0, 0, 1), bpf.ALLOW),
    "no bit of: one of two": (bpf.no_bit_of(2, 6), (0, 0, 4), bpf.REFUSE),
    "not all bits of: one of two": (bpf.not_all_bits_of(2, 6), (0, 0, 5), bpf.ALLOW),
    "not all bits of: both": (bpf.not_all_bits_of(2, 6), (0, 0, 7), bpf.REFUSE),
    "equal but for: equal": (bpf.equal_but_for(1, 1, 0x80800), (0, 1), bpf.ALLOW),
    "equal but for: with ignored bits": (bpf.equal_but_for(1, 1, 0x80800), (0, 0x80801), bpf.ALLOW),
    "equal but for: another value": (bpf.equal_but_for(1, 1, 0x80800), (0, 0x80802), bpf.REFUSE),
    "equal but for: a bit that counts": (bpf.equal_but_for(1, 1, 0x80800), (0, 0x1001), bpf.REFUSE),
    "null: null": (bpf.null(4), (1, 1, 1, 1, 0), bpf.ALLOW),
    "null: a low address": (bpf.null(4), (0, 0, 0, 0, 8), bpf.REFUSE),
    "null: an address whose lower word is zero": (bpf.null(4), (0, 0, 0, 0, 3 * HIGH), bpf.REFUSE),
    "two tests: both pass": (bpf.one_of(0, (1,), bpf.no_bit_of(1, 4)), (1, 2), bpf.ALLOW),
    "two tests: the first fails": (bpf.one_of(0, (1,), bpf.no_bit_of(1, 4)), (2, 2), bpf.REFUSE),
    "two tests: the second fails": (bpf.one_of(0, (1,), bpf.no_bit_of(1, 4)), (1, 4), bpf.REFUSE),
}


@pytest.mark.parametrize(("body", "arguments", "expected"), CASES.values(), ids=CASES)
def test_a_body_answers_by_the_argument_it_looks_at(body: bpf.Body, arguments: tuple[int, ...], expected: int) -> None:
    """Also where the call stands between others in the filter."""
    assert decide(body, *arguments) == expected


def test_a_call_that_is_not_listed_is_refused() -> None:
    """The default is refusal, not absence: a refusal is what a program can be told."""
    assert answer(bpf.assemble(ARCH, 400, [(7, bpf.ALLOWED)]), ARCH, 8) == bpf.REFUSE


@pytest.mark.parametrize("number", [400, 401, 0x40000000, 0x40000000 + 7, 0xFFFFFFFF])
def test_an_unknown_number_does_not_exist_and_neither_does_an_x32_call(number: int) -> None:
    """x32 carries bit 30 in the number on x86_64; -1 is what a tracer leaves."""
    assert answer(bpf.assemble(ARCH, 400, [(7, bpf.ALLOWED)]), ARCH, number) == bpf.UNKNOWN


def test_a_call_of_another_architecture_ends_the_process() -> None:
    """`int 0x80` on x86_64 arrives as i386 with other numbers."""
    assert answer(bpf.assemble(ARCH, 400, [(7, bpf.ALLOWED)]), 0x40000003, 7) == bpf.KILL_PROCESS


def test_a_body_without_an_end_is_a_defect() -> None:
    """It would run into the next call's test with another value loaded."""
    with pytest.raises(ValueError, match="system call 7"):
        bpf.assemble(ARCH, 400, [(7, (bpf.low_word(0),))])


def test_packing_is_one_sock_filter_of_eight_bytes_an_instruction() -> None:
    """`struct sock_filter`: u16 code, u8 jt, u8 jf, u32 k."""
    packed = bpf.pack((bpf.Instruction(bpf.JUMP_EQUAL, 0xC000003E, 1, 2),))
    assert packed == struct.pack("=HBBI", 0x15, 1, 2, 0xC000003E)
