"""A page of one file has all that the stream would say, and its pictures, as far as there is room for them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.kernel.untrusted.shown.displays import Display
from rlm_kernel_mcp.watching.messages.events import ImageRef
from rlm_kernel_mcp.watching.record import whole as module
from rlm_kernel_mcp.watching.record.whole import NO_END, NO_ROOM, whole
from tests.unit.watching.recorded import Recorded, looked_at

PICTURE = base64.b64encode(b"picture").decode()
SHOWN = (Display("image/png", PICTURE, 1), Display("image/svg+xml", "<svg/>", 2), Display("text/html", "<b>", 3))
BOMB = "".join(f'<g id="n{n}">{f"""<use href="#n{n - 1}"/>""" * 2}</g>' for n in range(1, 40))


def images(directory: Path) -> list[ImageRef]:
    store = looked_at(directory)
    try:
        messages = list(whole(store, "s_1"))
    finally:
        store.close()
    assert [message["type"] for message in messages][:: len(messages) - 1] == ["head", "end"]
    events = [event for message in messages if message["type"] == "events" for event in message["events"]]
    return [image for event in events for image in event.get("images", ())]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return recorded(tmp_path, *SHOWN)


def recorded(directory: Path, *displays: Display) -> Path:
    session = Recorded(directory)
    session.step(displays=displays)
    session.finalize()
    session.close()
    return directory


def test_pictures_come_as_addresses_that_hold_them(directory: Path) -> None:
    found = images(directory)
    addresses = [image.get("data", "").partition(";")[0] for image in found]
    assert addresses == ["data:image/png", "data:image/svg+xml", ""]
    assert base64.b64decode(found[0]["data"].rpartition(",")[2]) == b"picture"
    assert not any("sha" in image for image in found), "there is nobody to ask"


def test_what_is_no_picture_comes_as_its_source_and_takes_no_room_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a drawing that may have no end, which says that it is one."""
    html, bomb, picture = (
        Display("text/html", "<b>" * 100, 300),
        Display("image/svg+xml", f"<svg>{BOMB}</svg>", 1),
        SHOWN[0],
    )
    monkeypatch.setattr(module, "PICTURES_BYTES", len(b"picture"))
    found = images(recorded(tmp_path, html, bomb, picture))
    assert ["data" in image for image in found] == [False, False, True]
    assert [image.get("why") for image in found] == [None, NO_END, None]
    assert [image.get("source", {}).get("text", "")[:5] for image in found] == ["<b><b", "<svg>", ""]


def test_what_has_no_room_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PICTURES_BYTES", len(b"picture"))
    assert [image.get("why") for image in images(directory)] == [None, NO_ROOM, None]


def test_the_documents_that_were_read_from_come_along(directory: Path) -> None:
    """There is nobody to ask for them."""
    store = looked_at(directory)
    found = [message for message in whole(store, "s_1") if message["type"] == "documents"]
    store.close()
    assert found == [{"type": "documents", "context": "context", "documents": [], "read": 0, "total": 0}]


def test_of_a_session_that_nobody_knows_there_is_no_page(directory: Path) -> None:
    store = looked_at(directory)
    with pytest.raises(SessionNotFound):
        next(whole(store, "s_2"))
    store.close()
