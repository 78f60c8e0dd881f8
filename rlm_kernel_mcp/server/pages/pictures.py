"""The pictures that a step displayed: which of them a client is given, and what is said of all.

Is: the first few PNG and JPEG, which are what they say; SVG is a text, and stays in the record. Is not: what is kept
(`session/steps/delivery.py`). Above: `server/responses.py`, `server/markdown.py`. Below: `session/reports.py`.
"""

from __future__ import annotations

from typing import Any, Final

from rlm_kernel_mcp.session.reports import StepReport
from rlm_kernel_mcp.text.wording import counted

SHOWN: Final = ("image/png", "image/jpeg")
SHOWN_MAX: Final = 4
"""In one reply, of 1 MB each: a model pays for each picture, by what it shows and not by its bytes."""


def shown(report: StepReport) -> list[Any]:
    """Those that go with a reply."""
    return [report.images[number] for number in _numbers(report)]


def rows(report: StepReport) -> list[dict[str, Any]]:
    """What the reply's JSON says of each; `chars`: of its base64, or of an SVG text."""
    given = _numbers(report)
    return [
        {"mime_type": one.mime_type, "chars": len(one.data), "shown": number in given}
        for number, one in enumerate(report.images)
    ]


def said(report: StepReport) -> list[str]:
    """The same in words."""
    given, all_of_them = len(shown(report)), len(report.images)
    words = [f"Pictures: {given}, after this text."] if given else []
    if more := all_of_them - given:
        words.append(f"{counted(more, 'more picture')} {'is' if more == 1 else 'are'} in the record alone.")
    return [" ".join(words)] if words else []


def _numbers(report: StepReport) -> list[int]:
    """Which of them are shown."""
    return [number for number, one in enumerate(report.images) if one.mime_type in SHOWN][:SHOWN_MAX]
