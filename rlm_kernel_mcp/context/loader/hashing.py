"""The hash of a context that a session works with already, computed by a second loader.

Is: the bytes, kept open for that, and the check that they did not change meanwhile. Is not: when it is done, and who is
told (`session/contexts/hashing.py`). Above: `payload.py`, the session. Below: `loaders.py`, `client.py`.

The loader that read the files cannot do it: it can write to files that kernels share, and so has to end first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Self

from rlm_kernel_mcp.context.loader.client import LoaderClient
from rlm_kernel_mcp.context.loader.loaders import CancelCheck, Loaders


class Unhashed:
    """The bytes of a context that has no hash yet. `close` (or `with`) releases them; it is safe to call twice."""

    def __init__(
        self, descriptor: int, byte_count: int, has_changed: Callable[[int], bool], let_go: Callable[[], None]
    ) -> None:
        """Keep the first `byte_count` bytes of an open file, whose descriptor stays its owner's.

        `has_changed`: whether the file of a descriptor was written to since it was read. `let_go`: called when the
        file is not needed any more.
        """
        self._byte_count = byte_count
        self._has_changed = has_changed
        self._let_go = let_go
        try:
            self._descriptor = os.dup(descriptor)
        except BaseException:
            let_go()
            raise

    def digest(self, loaders: Loaders, check_cancelled: CancelCheck) -> str | None:
        """Their SHA-256; None if there are no loaders, or if the bytes are no longer what was read.

        Raises:
            ContextDenied, KernelStartFailed, SandboxUnavailable: no loader can be started, or it ended.
        """
        with loaders.process(self._byte_count, 1, check_cancelled) as process:
            if process is None:
                return None
            digest = LoaderClient(process, check_cancelled, self._byte_count).hash(self._descriptor, self._byte_count)
        return None if self._has_changed(self._descriptor) else digest

    def close(self) -> None:
        """Release them."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
