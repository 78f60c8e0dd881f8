"""A page of MCP Apps as a client shows it: in a sandboxed frame of a page that plays the client, in headless Chromium.

Is: the client's part (the frame, the handshake, what it posts), and what the frame has drawn by then, whichever process
of the browser it is in. Is not: a test, nor the browser (`chromium.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab.chromium import Chromium

SANDBOX: Final = "allow-scripts"
CLIENT: Final = """<!DOCTYPE html><meta charset="utf-8"><title>a client</title><iframe id="view" sandbox="%s"></iframe>
<script type="application/json" id="given">%s</script>
<script>
"use strict";
const given = JSON.parse(document.getElementById("given").textContent), frame = document.getElementById("view");
const heard = [], drawn = {}, post = (message) => frame.contentWindow.postMessage({jsonrpc: "2.0", ...message}, "*");
const until = (id) => new Promise((resolve) => { drawn[id] = resolve; });
const first = until("first"), further = until("further");
window.addEventListener("message", ({source, data}) => {
  if (source !== frame.contentWindow) return;
  heard.push(data);
  if (data.method === "ui/initialize") post({id: data.id, result: given.host});
  else if (data.method === "ui/notifications/initialized") {
    for (const message of given.posts) post(message);
    post({id: "first", method: "ping"});
  } else if (data.method === "tools/call") {
    post({id: data.id, result: given.further});
    post({id: "further", method: "ping"});
  } else if (data.id in drawn) drawn[data.id](heard);
});
frame.srcdoc = given.html;
</script>"""
"""It answers the handshake, posts what it is given, and then asks whether the page is there: the answer comes when all
that was posted has been drawn."""
HOST: Final = {"protocolVersion": "2026-01-26", "hostInfo": {}, "hostCapabilities": {}, "hostContext": {}}
CLICK: Final = "document.getElementById('more').click()"
"""A person asks for the next page."""
WITHIN: Final = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of it."""

    heard: Sequence[Mapping[str, Any]]
    """What the page has said to the client."""
    tree: Mapping[str, Any]
    """The document in the frame, as DevTools has it."""
    dialogs: tuple[str, ...]
    requested: tuple[str, ...]
    is_within: bool
    """Whether it is no wider than its frame."""

    @property
    def text(self) -> str:
        """All of its text nodes that a person sees."""
        return "\n".join(str(node["nodeValue"]) for node in self.nodes if node["nodeType"] == 3)

    @property
    def tags(self) -> list[str]:
        """The elements of its body."""
        return [str(node["localName"]) for node in self.nodes if node["nodeType"] == 1]

    @property
    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """Those of its `main`: what stands around it is the page's own."""
        return _below(next(node for node in _below(self.tree) if node["localName"] == "main"))


def _below(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("children", ()):
        yield from _below(child)


def show(browser: Chromium, place: Path, html: str, posts: Sequence[Mapping[str, Any]], **given: Any) -> Shown:
    """Show a page in a client that posts these messages.

    Args:
        browser: the browser.
        place: where the client's own page is written.
        html: the page.
        posts: what the client posts when the page is ready.
        given: `host`, what the client answers the handshake with; `further`, what it answers the page's call of a tool:
            then a person asks for more, and what is told is how it stands after that.
    """
    said = {"host": HOST, "further": None, **given, "html": html, "posts": list(posts)}
    place.write_text(CLIENT % (SANDBOX, json.dumps(said).replace("<", "\\u003c")), encoding="utf-8")
    target = browser._ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "DOM"):
        browser._ask(f"{domain}.enable", session)
    browser._ask("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
    browser._events.clear()
    browser._ask("Page.navigate", session, url=place.as_uri())
    while not any(event["method"] == "Page.loadEventFired" for event in browser._events):
        browser._receive()
    heard = _evaluated(browser, session, "first")
    frame = next(node for node in _below(_document(browser, session)) if node["localName"] == "iframe")
    attached = [one["params"] for one in browser._events if one["method"] == "Target.attachedToTarget"]
    # Its own process may be the browser's choice for a frame that is sandboxed; then it has a session too.
    inner = next((one["sessionId"] for one in attached if one["targetInfo"]["type"] == "iframe"), session)
    world = browser._ask("Page.createIsolatedWorld", inner, frameId=frame["frameId"])["executionContextId"]
    if "further" in given:
        browser._ask("Runtime.evaluate", inner, expression=CLICK, contextId=world)
        heard = _evaluated(browser, session, "further")
    is_within = browser._ask("Runtime.evaluate", inner, expression=WITHIN, contextId=world)["result"]["value"]
    tree = _document(browser, inner)
    if inner == session:
        tree = next(node for node in _below(tree) if node["localName"] == "iframe")["contentDocument"]
    said_by = [(event["method"], event["params"]) for event in browser._events]
    browser._ask("Target.closeTarget", targetId=target)
    urls = (of["request"]["url"] for name, of in said_by if name == "Network.requestWillBeSent")
    return Shown(
        heard,
        tree,
        tuple(of["message"] for name, of in said_by if name == "Page.javascriptDialogOpening"),
        tuple(url for url in urls if not url.startswith(("data:", "about:", place.as_uri()))),
        is_within,
    )


def _evaluated(browser: Chromium, session: str, promise: str) -> list[dict[str, Any]]:
    """What has been said when this promise of the client is kept."""
    asked = browser._ask("Runtime.evaluate", session, expression=promise, awaitPromise=True, returnByValue=True)
    found: list[dict[str, Any]] = asked["result"]["value"]
    return found


def _document(browser: Chromium, session: str) -> dict[str, Any]:
    """The whole tree, with that of each frame that is in the same process."""
    root: dict[str, Any] = browser._ask("DOM.getDocument", session, depth=-1, pierce=True)["root"]
    return root
