"""The hash of a context that is there already: made by a loader of its own, while the session works.

Is: the bytes, held open for that, and the word whether they were the same from beginning to end. Is not: when, and who
is told (`session/contexts/hashing.py`). Above: `payload.py`, the session. Below: `loaders.py`, `client.py`.

Another process than the one that read the files: that one can write to what kernels share, and has to end before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Self

from rlm_kernel_mcp.context.loader.client import LoaderClient
from rlm_kernel_mcp.context.loader.loaders import GoOn, Loaders


class Unhashed:
    """The bytes of a context of which there is no hash yet. `close` (or `with`) gives them back; safe to call twice."""

    def __init__(
        self, descriptor: int, byte_count: int, has_changed: Callable[[int], bool], let_go: Callable[[], None]
    ) -> None:
        """Hold the first `byte_count` bytes of an open file, whose descriptor stays its owner's.

        `has_changed`: whether somebody has written to the file of a descriptor since it was read. `let_go`: told when
        it is needed no more.
        """
        self._byte_count = byte_count
        self._has_changed = has_changed
        self._let_go = let_go
        try:
            self._descriptor = os.dup(descriptor)
        except BaseException:
            let_go()
            raise

    def digest(self, loaders: Loaders, go_on: GoOn) -> str | None:
        """Their SHA-256; None where there are no loaders, or where they are not any more what was read.

        Raises:
            ContextDenied, KernelStartFailed, SandboxUnavailable: no loader can be had, or it ended.
        """
        with loaders.process(self._byte_count, 1, go_on) as process:
            if process is None:
                return None
            digest = LoaderClient(process, go_on, self._byte_count).hash(self._descriptor, self._byte_count)
        return None if self._has_changed(self._descriptor) else digest

    def close(self) -> None:
        """Let them go."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
