"""What a page's main thread does meanwhile, by the browser's own trace: its longest task, in processor time.

Is: DevTools' `Tracing`, over the pipe of `tests/lab/chromium.py`. Is not: what is done in the page, nor how long a
person waits: processor time is what another program's load does not lengthen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.lab.chromium import Chromium
from tests.watching.tab import Tab

CATEGORIES: Final = ("__metadata", "toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline")
MAIN_THREAD: Final = "CrRendererMain"
TASKS: Final = ("RunTask", "ThreadControllerImpl::RunTask")
"""Whatever a thread takes from its queue is one of these: a script, or a frame with its styles and its layout."""
FRAMES: Final = """new Promise((done) => {
  let left = 6;
  const frame = () => (left-- ? requestAnimationFrame(frame) : setTimeout(done, 0));
  frame();
})"""
"""What comes into view is drawn a frame later, and what has gone out of it is cleared."""


def longest_task_ms(tab: Tab, act: Callable[[], object]) -> float:
    """Of the page's main thread while `act` is done, and in the frames that follow. No other tab may be at work."""
    tab.run(FRAMES)
    categories = {"includedCategories": [*CATEGORIES], "excludedCategories": ["*"]}
    tab.browser._ask("Tracing.start", transferMode="ReportEvents", traceConfig=categories)
    act()
    tab.run(FRAMES)
    traced = _ended(tab.browser)
    mains = {(one["pid"], one["tid"]) for one in traced if one.get("args", {}).get("name") == MAIN_THREAD}
    tasks = [one for one in traced if one["name"] in TASKS and (one["pid"], one["tid"]) in mains]
    return max(float(one.get("tdur", 0)) for one in tasks) / 1000  # none: of one that the trace has not seen end


def _ended(browser: Chromium) -> list[dict[str, Any]]:
    """All of the trace."""
    browser._ask("Tracing.end")
    while not any(event["method"] == "Tracing.tracingComplete" for event in browser._events):
        browser._receive()
    parts = [event["params"]["value"] for event in browser._events if event["method"] == "Tracing.dataCollected"]
    browser._events[:] = [event for event in browser._events if not event["method"].startswith("Tracing.")]
    return [one for part in parts for one in part]
