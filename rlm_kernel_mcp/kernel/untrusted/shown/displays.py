"""What a step displays, folded out of a kernel's messages: pictures that are pictures, and texts that are nobody's yet.

Is: which of them are kept, within limits of size and number, and how many are not, and why. Is not: rendering: SVG and
HTML are texts here, of which nobody knows what they say, and whoever shows one sees to it that nothing in it acts. Nor
trust: a kernel may say that a step has shown anything. Above: `kernel/untrusted/reply.py`. Below: `png.py`, `jpeg.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeGuard, get_args

from rlm_kernel_mcp.kernel.untrusted.shown.jpeg import START, clean_jpeg
from rlm_kernel_mcp.kernel.untrusted.shown.png import SIGNATURE, clean_png

PictureType = Literal["image/png", "image/jpeg"]
TextType = Literal["text/html", "text/markdown", "image/svg+xml"]
DisplayType = PictureType | TextType
PICTURES: Final[tuple[PictureType, ...]] = get_args(PictureType)
TEXTS: Final[tuple[TextType, ...]] = get_args(TextType)
TYPES: Final[tuple[DisplayType, ...]] = (*PICTURES, *TEXTS)

DISPLAYS_MAX: Final = 32
"""Kept of one step: a value that is shown in several types counts for each."""
PICTURE_BYTES_MAX: Final = 1 << 20
TEXT_CHARS_MAX: Final = 256_000
"""Of one text."""
STEP_CHARS_MAX: Final = 6_000_000
"""Kept of one step in all; of a picture its base64 counts."""
TRIED_MAX: Final = 16
"""Pictures of one step that are looked through: one that turns out bad takes as long as a good one."""
HEAD_CHARS: Final = 12
"""Characters of base64 that hold a signature."""

RESULT: Final = 0

Reason = Literal["no_picture", "too_large", "too_many", "failed"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Why something is not kept: it is not what its type says; it is larger than one may be; the step has shown as much as
is kept of one; its own code failed to make it."""
SAID_BY_KERNEL: Final[tuple[Reason, ...]] = ("too_large", "too_many", "failed")

_CLEAN: Final[Mapping[PictureType, tuple[bytes, Callable[[bytes], bytes | None]]]] = {
    "image/png": (SIGNATURE, clean_png),
    "image/jpeg": (START + b"\xff", clean_jpeg),
}
"""How a picture of each type begins, and what looks through it."""
_BASE64_CHARS_MAX: Final = PICTURE_BYTES_MAX * 4 // 3 + 4


@dataclass(frozen=True, slots=True)
class Display:
    """One thing that a step has displayed, in one type."""

    mime_type: DisplayType
    data: str
    """Base64 of a picture that was looked through; else the text, raw."""
    place: int = RESULT
    """Which of the step's displays, counted from 1: the same value in several types has the same. `RESULT`: it is the
    value of the step's last expression."""


@dataclass(slots=True)
class Displays:
    """Those of one step, in their order."""

    most: int = DISPLAYS_MAX
    """How many are kept."""
    kept: list[Display] = field(default_factory=list)
    left_out: dict[Reason, int] = field(default_factory=dict)
    _chars: int = 0
    _tried: int = 0
    _place: int = 0

    def take(self, data: Mapping[str, Any], beside: object, *, is_result: bool = False) -> None:
        """One display's MIME bundle, and what the kernel has `beside` it for the record (`wire.DisplayExtra`)."""
        self._place += 0 if is_result else 1
        place = RESULT if is_result else self._place
        for mime_type in PICTURES:
            if mime_type in data:
                self._take_picture(mime_type, data[mime_type], place)
        if not isinstance(beside, dict):
            return
        kept, left_out = beside.get("kept"), beside.get("left_out")
        for text_type in TEXTS:
            if isinstance(kept, dict) and isinstance(text := kept.get(text_type), str):
                self._take_text(text_type, text, place)
            if isinstance(left_out, dict) and (why := left_out.get(text_type)) in SAID_BY_KERNEL:
                self._leave_out(why)

    def take_all(self, others: Displays) -> None:
        """What was displayed before, and belongs here."""
        for display in others.kept:
            self._keep(display.mime_type, display.data, self._place + display.place)
        self._place += others._place
        for why, count in others.left_out.items():
            self._leave_out(why, count)

    def _take_picture(self, mime_type: PictureType, data: object, place: int) -> None:
        signature, clean = _CLEAN[mime_type]
        if isinstance(data, str) and len(data) > _BASE64_CHARS_MAX:
            self._leave_out("too_large")
        elif not _begins(data, signature):
            self._leave_out("no_picture")
        elif self._tried >= TRIED_MAX or not self._has_room(len(data)):
            self._leave_out("too_many")
        else:
            self._tried += 1
            # Encoded again, since base64 has several spellings of the same bytes, and clients differ in what they take.
            picture = _decoded(data, clean)
            if picture is None:
                self._leave_out("no_picture")
            else:
                self._keep(mime_type, base64.b64encode(picture).decode("ascii"), place)

    def _take_text(self, mime_type: TextType, text: str, place: int) -> None:
        if len(text) > TEXT_CHARS_MAX:
            self._leave_out("too_large")
        elif text:
            self._keep(mime_type, text, place)

    def _keep(self, mime_type: DisplayType, data: str, place: int) -> None:
        if self._has_room(len(data)):
            self._chars += len(data)
            self.kept.append(Display(mime_type, data, place))
        else:
            self._leave_out("too_many")

    def _has_room(self, chars: int) -> bool:
        return len(self.kept) < self.most and self._chars + chars <= STEP_CHARS_MAX

    def _leave_out(self, why: Reason, count: int = 1) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + count


def _begins(data: object, signature: bytes) -> TypeGuard[str]:
    """Whether some base64 begins as a picture of its type does: cheap, however many come."""
    if not isinstance(data, str):
        return False
    try:
        return base64.b64decode(data[:HEAD_CHARS], validate=True).startswith(signature)
    except (binascii.Error, ValueError):
        return False


def _decoded(data: str, clean: Callable[[bytes], bytes | None]) -> bytes | None:
    """The picture that canonical base64 holds, without what is none."""
    try:
        raw = base64.b64decode(data.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    return clean(raw) if len(raw) <= PICTURE_BYTES_MAX else None
