"""How many bytes the units of the settings and of the policy are.

Is: stdlib-only numbers for both sides. Is not: any limit. `in_kernel/walls/` has its own, since it stands on the
standard library alone. Above: everyone. Below: nothing.
"""

from __future__ import annotations

from typing import Final

MB: Final = 1 << 20
"""As `RLM_MEMORY_LIMIT_MB` and the `_mb` of the policy count it."""
