"""Every request of a Jupyter client gets its reply, also one that cannot be read or that fails while it is served.

Is: a check of what a request must have, and the `error` reply where its own did not come: a client would wait for ever.
Is not: what a request does (`in_kernel/requests/client_requests.py`), nor our own requests, whose host has bounds of
its own. Above: `in_kernel/ipython/kernel.py`. Below: ipykernel, which logs such a request and says nothing. Source:
Jupyter messaging 5.5.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import NoneType
from typing import Any, Final

from rlm_kernel_mcp.wire import OWN_REQUESTS

Message = dict[str, Any]

_FIELDS: Final[dict[str, dict[str, tuple[tuple[type, ...], str]]]] = {
    "execute_request": {"code": ((str,), "text")},
    "complete_request": {"code": ((str,), "text"), "cursor_pos": ((int, NoneType), "a whole number")},
    "inspect_request": {"code": ((str,), "text"), "cursor_pos": ((int,), "a whole number")},
    "is_complete_request": {"code": ((str,), "text")},
    "shutdown_request": {"restart": ((object,), "true or false")},
}
"""The fields that a request's content must have, their types, and how a message names those."""


class AnsweredRequests:
    """Mixin of the kernel."""

    session: Any
    shell: Any
    shell_handlers: dict[str, Any]
    control_handlers: dict[str, Any]
    iopub_socket: Any
    begin_abort: Any
    _topic: Any

    def answer_all(self) -> None:
        """Make sure that every request which ipykernel serves is answered. Call it once, when the kernel is made."""
        for handlers in (self.shell_handlers, self.control_handlers):
            for msg_type, serve in handlers.items():
                if msg_type.endswith("_request") and not msg_type.startswith(OWN_REQUESTS):
                    handlers[msg_type] = self._answered(serve)

    def _answered(self, serve: Callable[[Any, Any, Message], Any]) -> Callable[[Any, Any, Message], Any]:
        async def served(stream: Any, ident: Any, parent: Message) -> None:
            # Before ipykernel sees it: that logs such a request and sends nothing.
            if wrong := _wrong(parent):
                self._answer_error(stream, ident, parent, ValueError(wrong))
                return
            try:
                served = serve(stream, ident, parent)
                if inspect.isawaitable(served):
                    await served
            except BaseException as error:
                self._answer_error(stream, ident, parent, error)
                raise

        return served

    def _answer_error(self, stream: Any, ident: Any, parent: Message, error: BaseException) -> None:
        msg_type = parent["header"]["msg_type"]
        ename, evalue = type(error).__name__, str(error)
        shown = {"ename": ename, "evalue": evalue, "traceback": [f"{ename}: {evalue}"]}
        content: Message = {"status": "error", **shown}
        if msg_type == "execute_request":
            asked = parent["content"] if isinstance(parent["content"], dict) else {}
            if not asked.get("silent"):
                self.session.send(self.iopub_socket, "error", shown, parent, ident=self._topic("error"))
            self.begin_abort({"content": asked}, "error")
            content |= {"execution_count": self.shell.execution_count - 1, "user_expressions": {}, "payload": []}
        self.session.send(stream, msg_type.replace("_request", "_reply"), content, parent, ident=ident)


def _wrong(parent: Message) -> str:
    """What is wrong with a request, in one sentence; empty if it can be served."""
    msg_type, content = parent["header"]["msg_type"], parent["content"]
    fields = _FIELDS.get(msg_type, {})
    if fields and not isinstance(content, dict):
        return f"the content of {msg_type} must be a JSON object"
    if fields and not isinstance(parent["metadata"], dict):
        return f"the metadata of {msg_type} must be a JSON object"
    for name, (types, called) in fields.items():
        if name not in content or not isinstance(content[name], types):
            return f"{name!r} of {msg_type} must be {called}"
    return ""
