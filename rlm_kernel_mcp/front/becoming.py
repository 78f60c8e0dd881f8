"""How a front becomes the server, where there is no host for its client.

Is: what the server is told by two variables that are nobody's settings. Is not: the server, nor a reason.
`front.py` loads this file where it needs it.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

HANDED = "RLM_HANDED"
"""The descriptors that a client has of a host that died: its page, and its roots."""
WITHOUT = "RLM_WITHOUT_HOST"
"""Why there is no host."""


def become_server(argv: list[str], reason: str, handed: "Sequence[int]" = ()) -> "NoReturn":
    """Become it. It says the reason once it serves: what it refuses, it refuses in its own words alone."""
    for descriptor in handed:
        os.set_inheritable(descriptor, True)
    told = {**os.environ, WITHOUT: reason, HANDED: ",".join(map(str, handed))}
    os.execve(sys.executable, [sys.executable, "-I", "-m", "rlm_kernel_mcp", "serve", *argv], told)  # noqa: S606
