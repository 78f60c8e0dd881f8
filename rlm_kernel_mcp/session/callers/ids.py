"""The handles of sessions.

Is: how one is made up. Is not: who has which (`session/handles.py`). Above: `session/registry.py`,
`session/children/opening.py`. Below: nothing.
"""

from __future__ import annotations

import secrets
from typing import Final

# No 0, 1, i, l or o.
ID_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
ID_CHARS: Final = 8


def new_session_id() -> str:
    """A handle that nobody can guess, without letters that are taken for others."""
    # 31 characters, 8 places: 39 bits. A guess costs a call, and reaches sessions of the same user only.
    return "s_" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_CHARS))
