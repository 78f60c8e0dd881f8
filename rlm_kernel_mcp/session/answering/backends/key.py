"""The key of an endpoint: read at the first question, and again once it was refused; shown nowhere.

Is: where it comes from, and what is blacked out where an endpoint repeats it. Is not: its use (`transport.py`).
Above: `openai_api.py`. Below: `variables/subcalls.py`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.variables.subcalls import Secret, SubcallSettings, checked_key

KEY_BYTES_MAX: Final = 8_192
BLACKED_OUT: Final = "[key]"
SHORTEST: Final = 8
"""Characters of a key that is looked for in answers: a shorter one is a word like others (`EMPTY`, `ollama`)."""


def key_of(settings: SubcallSettings) -> Secret | None:
    """The key; None where the endpoint needs none. It waits for the disk.

    Raises:
        InvalidInput: the file is missing, others may read it, or it holds no key. The message has nothing of it.
    """
    return settings.key if settings.key_file is None else _read(settings.key_file)


def blacked_out(text: str, key: Secret | None) -> str:
    """A text of the endpoint, which has had the key and may repeat it."""
    if key is None or len(key.value) < SHORTEST or key.value not in text:
        return text
    return text.replace(key.value, BLACKED_OUT)


def blacked_out_of(body: bytes, key: Secret | None) -> bytes:
    """The same of a reply's body, before anything of it is cut: half a key would not be found any more."""
    if key is None or len(key.value) < SHORTEST:
        return body
    for form in (key.value, key.value.replace("/", "\\/")):  # as JSON may have it
        body = body.replace(form.encode(), BLACKED_OUT.encode())
    return body


def _read(path: Path) -> Secret:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        what = f"RLM_SUBCALL_KEY_FILE cannot be opened: {error.strerror}."
        raise InvalidInput(what, "Correct the setting.") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > KEY_BYTES_MAX:
            raise InvalidInput("RLM_SUBCALL_KEY_FILE is not a file with a key.", "Correct the setting.")
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise InvalidInput(
                f"RLM_SUBCALL_KEY_FILE can be read by others (mode {stat.S_IMODE(found.st_mode):04o}, owner "
                f"{found.st_uid}).",
                "Make it yours alone: chmod 600.",
            )
        text = os.read(descriptor, KEY_BYTES_MAX).decode("ascii", "replace")
    finally:
        os.close(descriptor)
    return Secret(checked_key(text, "RLM_SUBCALL_KEY_FILE"))
