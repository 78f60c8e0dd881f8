"""Idle time: what counts as a session's own work between steps, over a clock that the test turns."""

from __future__ import annotations

from rlm_kernel_mcp.session.kernels.idle_time import FREE_MS, IdleTime


class Machine:
    """A process and a clock."""

    def __init__(self) -> None:
        self.clock_ms = 5_000
        self.used_ms = 700

    def cpu_ms(self) -> int:
        return self.used_ms

    def now_ms(self) -> int:
        return self.clock_ms

    def passes(self, ms: int, *, worked_ms: int) -> None:
        """Time goes by, in which the process works that much."""
        self.clock_ms += ms
        self.used_ms += worked_ms


def begun() -> tuple[Machine, IdleTime]:
    machine = Machine()
    return machine, IdleTime(machine, machine.now_ms)


def test_what_is_used_between_steps_counts_once_it_is_more_than_is_free() -> None:
    """A kernel's own threads wake now and then."""
    machine, idle = begun()
    machine.passes(10_000, worked_ms=FREE_MS)
    assert idle.used_ms() == 0
    machine.passes(10_000, worked_ms=1)
    assert idle.used_ms() == FREE_MS + 1
    idle.restart()
    assert idle.used_ms() == 0


def test_a_read_is_free_while_it_runs_and_afterwards() -> None:
    """The kernel works for the reader."""
    machine, idle = begun()
    with idle.reading():
        machine.passes(3_000, worked_ms=2_900)
        assert idle.used_ms() == 0
    assert idle.used_ms() == 0
    machine.passes(1_000, worked_ms=900)
    assert idle.used_ms() == 900


def test_more_threads_than_the_reader_waits_for_are_charged() -> None:
    """A second of waiting pays for one second of one processor."""
    machine, idle = begun()
    with idle.reading():
        machine.passes(1_000, worked_ms=4_000)
        assert idle.used_ms() == 3_000
    assert idle.used_ms() == 3_000


def test_what_a_process_used_is_remembered_when_it_is_gone() -> None:
    """As far as it was seen: it cannot be measured any more, and its end is not an excuse."""
    machine, idle = begun()
    machine.passes(2_000, worked_ms=1_900)
    assert idle.used_ms() == 1_900
    machine.passes(1_000, worked_ms=-machine.used_ms)
    assert machine.cpu_ms() == 0
    assert idle.used_ms() == 1_900
    idle.charged()
    assert idle.used_ms() == 0


def test_what_was_owed_before_is_owed_until_it_is_charged() -> None:
    """By the kernels before: what this one works for us does not pay for it."""
    machine = Machine()
    idle = IdleTime(machine, machine.now_ms, owed_ms=700)
    machine.passes(1_000, worked_ms=900)
    assert idle.used_ms() == 1_600
    idle.restart()
    assert idle.used_ms() == 700
    idle.charged()
    assert idle.used_ms() == 0


def test_two_reads_at_once_are_one_time_of_waiting() -> None:
    """Else many cheap reads would pay for as many processors."""
    machine, idle = begun()
    with idle.reading():
        machine.passes(500, worked_ms=1_000)
        with idle.reading():
            machine.passes(1_000, worked_ms=2_000)
        machine.passes(500, worked_ms=1_000)
    assert idle.used_ms() == 2_000


def test_a_read_gives_no_credit_for_later() -> None:
    """A kernel that sleeps while it is read cannot work afterwards for it."""
    machine, idle = begun()
    with idle.reading():
        machine.passes(10_000, worked_ms=0)
    machine.passes(2_000, worked_ms=2_000)
    assert idle.used_ms() == 2_000


def test_what_a_step_used_is_no_part_of_a_read_that_outlasts_it() -> None:
    """The step's own time is charged by the clock; only what comes after its end is the read's."""
    machine, idle = begun()
    with idle.reading():
        machine.passes(8_000, worked_ms=8_000)
        idle.restart()
        machine.passes(100, worked_ms=100)
    machine.passes(2_000, worked_ms=2_000)
    assert idle.used_ms() == 2_000


def test_a_process_that_is_gone_has_used_nothing() -> None:
    """Its clock cannot be read any more."""
    machine, idle = begun()
    with idle.reading():
        machine.passes(1_000, worked_ms=-machine.used_ms)
    assert idle.used_ms() == 0
