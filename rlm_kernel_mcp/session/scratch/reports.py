"""What a person is told of the files in a session's scratch directory: types alone, for whoever carries them.

Is: the words of `kernel/untrusted/shown/files.py`, where nothing of kernels has to be imported. Is not: how they come
(`files.py`). Above: `doors/link.py`, `host/kinds/conversation.py`. Below: `kernel/untrusted/shown/files.py`.
"""

from __future__ import annotations

from rlm_kernel_mcp.kernel.untrusted.shown.files import FilePart, ScratchFile, ScratchFiles

__all__ = ["FilePart", "ScratchFile", "ScratchFiles"]
