"""Handlers of signals, read and set without enum members.

Is: two functions of the C module below `signal`, whose Python half looks for an enum member for each number and each
handler: that is nine tenths of its time, and each step asks some ten times. Is not: a wall.
Above: `interrupts.py`, `process_state.py`. Below: the standard library.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # it has no stubs
from collections.abc import Callable
from typing import Any, Final

handler_of: Final[Callable[[int], Any]] = _signal.getsignal
"""As `signal.getsignal`."""
set_handler: Final[Callable[[int, Any], Any]] = _signal.signal
"""As `signal.signal`."""
