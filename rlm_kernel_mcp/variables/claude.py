"""What the program `claude` is given of a client's environment, and where it is found.

Is: names, and a search of PATH. Is not: what it is told beside these (`session/answering/claude/command.py`).
Above: `subcalls.py`. Below: nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Final

KEYS: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS")
PROXIED: Final = tuple(
    form for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY") for form in (name, name.lower())
)
PASSED: Final = (*KEYS, *PROXIED, "ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")
"""How it authenticates and reaches its endpoint; its login lies below HOME. Nothing else is passed on."""
NOT_FOUND: Final = "There is no program `claude` in a directory of PATH."


def environment_of(environ: Mapping[str, str], home: str | None) -> dict[str, str]:
    """Its environment, as far as it is the user's. Of PATH only what does not depend on a working directory."""
    given = {name: environ[name] for name in PASSED if environ.get(name)}
    if home is not None:
        given["HOME"] = home
    parts = [part for part in environ.get("PATH", os.defpath).split(os.pathsep) if part.startswith("/")]
    given["PATH"] = os.pathsep.join(parts)
    return given


def program_in(path: str) -> str | None:
    """Where it is, by a PATH of absolute directories; None: nowhere. It waits for the disk."""
    return shutil.which("claude", path=path) if path else None
