"""The server of the live page: on loopback, and as long as somebody lets it run.

Is: the socket, and uvicorn with bounds for what comes in. Is not: what is answered (`app.py`). Above:
`commands/watch.py`. Below: `app.py`, `connections.py`, `gate.py`,
`secret.py`, uvicorn.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

import uvicorn

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.web.app import app_of
from rlm_kernel_mcp.watching.web.connections import CONNECTIONS_MAX, IDLE_S, BoundedConnection
from rlm_kernel_mcp.watching.web.gate import Gate
from rlm_kernel_mcp.watching.web.secret import Secret, Tokens

LOOPBACK: Final = "127.0.0.1"
HEADERS_BYTES_MAX: Final = 16 << 10
END_S: Final = 2
"""After a signal, for answers under way."""


def listening(port: int) -> socket.socket:
    """A socket on loopback. `port`: 0 for any that is free.

    Raises:
        InvalidInput: another process has it.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed is free
        found.bind((LOOPBACK, port))
        found.listen(CONNECTIONS_MAX)
    except OSError as error:
        found.close()
        raise InvalidInput(
            f"Port {port} of {LOOPBACK} cannot be had: {error.strerror}.", "Leave --port out, and a free one is taken."
        ) from None
    return found


def serve(listener: socket.socket, store: Store, environ: Mapping[str, str], secret: Secret, tokens: Tokens) -> None:
    """Answer until a signal ends it."""
    app = Gate(app_of(store, environ), secret, listener.getsockname()[1], tokens)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX + 1,  # a second line: no more are open
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=END_S,
        h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
    )
    uvicorn.Server(config).run(sockets=[listener])
