"""What pages ask of a kernel by REST that jupyter_server would answer as if every kernel were its own.

Is: a restart of a session's kernel refused in words, where jupyter_server would say 500; and a document that goes over
to another kernel, which leaves the session's as it is. Is not: the refusal (`kernels.py`). jupyter_server finds this by
name (`extra_services`). Above: nothing imports it. Below: `kernels.py`, jupyter_server.
"""

from __future__ import annotations

from typing import Any, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.services.kernels.handlers import KernelActionHandler
from jupyter_server.services.sessions.handlers import SessionHandler
from tornado import web

from rlm_kernel_mcp.lab.kernels import letting_go

ID: Final = r"\w+-\w+-\w+-\w+-\w+"


class KernelAction(KernelActionHandler):  # type: ignore[misc]  # jupyter_server is not installed everywhere
    """`POST api/kernels/ID/restart` and `/interrupt`."""

    @web.authenticated
    @authorized  # type: ignore[untyped-decorator]  # as above
    async def post(self, kernel_id: str, action: str) -> None:
        """Do it, or say why not."""
        refusal = self.kernel_manager.refusal(kernel_id, "restarted") if action == "restart" else None
        if refusal is not None:
            raise refusal
        await super().post(kernel_id, action)


class Document(SessionHandler):  # type: ignore[misc]  # as above
    """`api/sessions/ID`: a notebook or console of a page, and its kernel."""

    @web.authenticated
    @authorized  # type: ignore[untyped-decorator]  # as above
    async def patch(self, session_id: str) -> None:
        """Rename it, or have it go over to another kernel."""
        with letting_go():
            await super().patch(session_id)


default_handlers: Final[list[tuple[str, Any]]] = [
    (rf"/api/kernels/(?P<kernel_id>{ID})/(?P<action>restart|interrupt)", KernelAction),
    (rf"/api/sessions/(?P<session_id>{ID})", Document),
]
