"""A tab of headless Chromium that a test looks at and types in, as a person does.

Is: a driver, over the pipe of `tests/lab/chromium.py`, which waits for what is in the page. Is not: a measure of time:
60 s guard against what hangs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.lab.chromium import WAIT_S, Chromium

DESK: Final = (1440, 900)
PHONE: Final = (360, 780)
KEYS: Final = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "/": ("Slash", 191, "/"),
    "?": ("Slash", 191, "?"),
}
SHIFT: Final = 8
WAITING: Final = """new Promise((found, lost) => {
  const until = performance.now() + %d;
  const look = () => {
    const value = (() => { try { return %s; } catch (error) { return null; } })();
    if (value) found(value);
    else if (performance.now() > until) lost(new Error("it never came"));
    else setTimeout(look, 5);
  };
  look();
})"""


@dataclass
class Tab:
    """One page."""

    browser: Chromium
    target: str
    session: str
    complaints: list[str] = field(default_factory=list)
    """What the console, the log and the policy had to say, except for what a test has expected."""
    requested: list[str] = field(default_factory=list)
    """Addresses that were asked for."""

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol."""
        return self.browser._ask(method, self.session, **parameters)

    def go(self, address: str) -> None:
        """Open an address, and wait until its own script has begun."""
        self.ask("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises."""
        done = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, condition: str) -> Any:
        """The value of an expression, as soon as it is true."""
        done = self.ask(
            "Runtime.evaluate", expression=WAITING % (WAIT_S * 1000, condition), awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            self.look_through()
            raise AssertionError(f"it never came: {condition}\n{self.complaints}\n{self.text()}")
        return done["result"].get("value")

    def text(self) -> str:
        """All that a person can read."""
        return str(self.run("document.body.innerText"))

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press a key and let it go."""
        code, number, text = KEYS.get(name, (f"Key{name.upper()}", ord(name.upper()[0]), name))
        common: dict[str, object] = {"key": name, "code": code, "windowsVirtualKeyCode": number}
        common["modifiers"] = SHIFT if shift else 0
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Put text where the focus is."""
        self.ask("Input.insertText", text=text)

    def tab_to(self, condition: str, *, most: int = 200) -> None:
        """Press Tab until the element with the focus fulfils a condition on `at`."""
        for _ in range(most):
            self.key("Tab")
            if self.run(f"(() => {{ const at = document.activeElement; return Boolean({condition}); }})()"):
                return
        raise AssertionError(f"no control came: {condition}")

    def size(self, width: int, height: int) -> None:
        """Another window."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, **features: str) -> None:
        """What the page is told of its reader: `prefers_color_scheme="dark"`."""
        rows = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", features=rows)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot."""
        got = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(got["data"]))

    def look_through(self) -> None:
        """Read what has been said of this page by now."""
        events, kept = self.browser._events, []
        for event in events:
            if event.get("sessionId") == self.session:
                self._hear(event["method"], event["params"])
            else:
                kept.append(event)
        events[:] = kept

    def _hear(self, method: str, said: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps([one.get("value") for one in said["args"]]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{said['entry']['source']}: {said['entry']['text']}")
        elif method == "Audits.issueAdded" and said["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.complaints.append(json.dumps(said["issue"]["details"]))


@contextmanager
def opened(browser: Chromium, width: int = DESK[0], height: int = DESK[1]) -> Iterator[Tab]:
    """A tab of its own."""
    target = browser._ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    tab = Tab(browser, target, session)
    for domain in ("Page", "Network", "Runtime", "Log", "Audits"):
        tab.ask(f"{domain}.enable")
    tab.size(width, height)
    try:
        yield tab
    finally:
        browser._ask("Target.closeTarget", targetId=target)
        tab.look_through()
