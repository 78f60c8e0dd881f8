"""The control thread's loop beside a step that has filled its memory: nothing that has come is lost."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rlm_kernel_mcp.in_kernel.channels import control_loop

SELECT = selectors.DefaultSelector.select


@contextmanager
def a_request(
    monkeypatch: pytest.MonkeyPatch, limit: Callable[[bool], None], select: Callable[..., object]
) -> Iterator[tuple[control_loop.LendingSelector, selectors.SelectorKey]]:
    """A selector with a request that has come; `limit` and `select` stand in for what it calls.

    Loops of other threads of this process have selectors of that class too: they wait as ever.
    """

    def selected(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
        return (select if isinstance(selector, control_loop.LendingSelector) else SELECT)(selector, timeout)

    monkeypatch.setattr(control_loop, "soft_memory_of_requests", limit)
    monkeypatch.setattr(selectors.DefaultSelector, "select", selected)
    near, far = socket.socketpair()
    with near, far, control_loop.LendingSelector() as selector:
        key = selector.register(near, selectors.EVENT_READ)
        far.send(b"a request")
        yield selector, key


@pytest.mark.parametrize("short", ["never", "while it waits", "once it has waited"])
def test_what_has_come_is_reported_under_the_lifted_limit(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    """Also where there was no memory to report it: the limit is lifted then, and it is asked again."""
    limits, selected = list[bool](), []

    def limit(on: bool) -> None:
        if short == "once it has waited" and limits == [False]:
            limits.append(on)
            raise MemoryError
        limits.append(on)

    def select(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
        selected.append(timeout)
        if short == "while it waits" and len(selected) == 1:
            raise MemoryError
        return SELECT(selector, timeout)

    with a_request(monkeypatch, limit, select) as (selector, key):
        assert selector.select(60) == [(key, selectors.EVENT_READ)]
    assert (limits[0], limits[-1], selected[0]) == (False, True, 60)
    assert selected[1:] == ([] if short == "never" else [0])


@pytest.mark.parametrize("short", ["the limit", "the wait"])
def test_without_any_memory_the_loop_goes_on_and_what_has_come_is_reported_later(
    monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    """An error that left the selector would end the loop, and the kernel would answer nothing any more."""
    is_short = [True]

    def limit(on: bool) -> None:
        if short == "the limit" and on and is_short[0]:
            raise MemoryError

    def select(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
        if short == "the wait" and is_short[0]:
            raise MemoryError
        return SELECT(selector, timeout)

    with a_request(monkeypatch, limit, select) as (selector, key):
        assert selector.select(60) == []
        is_short[0] = False
        assert selector.select(60) == [(key, selectors.EVENT_READ)]
