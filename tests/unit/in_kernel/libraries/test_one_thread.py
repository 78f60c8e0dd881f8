"""A module that starts a thread as it is imported is refused, by its name."""

from __future__ import annotations

import threading

import pytest

from rlm_kernel_mcp.in_kernel.libraries import one_thread
from rlm_kernel_mcp.in_kernel.libraries.one_thread import ThreadStarted, require_one_thread


def test_a_second_thread_is_refused_with_the_module_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one is not."""
    monkeypatch.setattr(one_thread, "count_threads", lambda: 1)
    require_one_thread("numpy")
    monkeypatch.setattr(one_thread, "count_threads", lambda: 3)
    monkeypatch.setattr(one_thread, "PAUSE_S", 0)
    with pytest.raises(ThreadStarted, match=r"'pyarrow' left this process with 3 threads"):
        require_one_thread("pyarrow")


def test_a_thread_that_is_about_to_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that was cancelled is one (matplotlib's); the system lists it for a moment longer."""
    counts = iter([2, 2, 1])
    monkeypatch.setattr(one_thread, "count_threads", lambda: next(counts))
    monkeypatch.setattr(one_thread, "PAUSE_S", 0)
    require_one_thread("matplotlib.pyplot")
    assert list(counts) == []


def test_threads_are_counted_by_the_system_or_where_it_does_not_say_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """C code's threads are none of Python's."""
    end = threading.Event()
    before = one_thread.count_threads()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert one_thread.count_threads() == before + 1
        monkeypatch.setattr(one_thread, "TASKS", "/nonexistent")
        assert one_thread.count_threads() == threading.active_count()
    finally:
        end.set()
        thread.join()
