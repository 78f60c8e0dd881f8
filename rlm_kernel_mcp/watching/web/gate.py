"""Who may ask anything of the live page, and what every answer says of itself.

Is: the door before the app: the host that a request names, its method, where it came from, its cookie; and the
exchange of the token for that cookie. Is not: an answer (`app.py`). Above: `app.py`. Below: `secret.py`.

Any page that the user visits can have the browser ask a server on loopback, and a name of its own can be made to lead
there: so the Host is looked at first, then what the browser says of the asking page. Without the cookie nobody is told
anything, and the cookie goes to one path alone, which no other server on loopback knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.watching.web.secret import Exchanged, Secret, Tokens

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
DATA_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
"""Of what a kernel has made, such as a picture, where somebody opens it by its own address."""
HEADERS: Final = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
METHODS: Final = ("GET", "HEAD")
FROM_HERE: Final = ("same-origin", "none")
"""What a browser says of a request that the page itself made, or the user by an address."""
TOKEN_PATH: Final = "/t/"  # noqa: S105 (where the token stands, not one)
WHERE: Final = "Open the address that `rlm-kernel-mcp watch` has printed last: it lets this browser in.\n"
USED: Final = (
    "This address has let a browser in, and lets in no other one. `rlm-kernel-mcp watch` has printed a new one where "
    "it runs: open that. If it was not you who opened this one, end `watch`, remove the directory `watch` from the "
    "state directory, and start it again: then nobody is let in by what was handed out before.\n"
)
WRONG_HOST: Final = "This server is asked by 127.0.0.1 or localhost, with its port, and by no other name.\n"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What somebody is answered who is not let in."""

    status: int
    text: str


class Gate:
    """The door of one server."""

    def __init__(self, app: App, secret: Secret, port: int, tokens: Tokens | None = None) -> None:
        self._app, self._secret = app, secret
        self._tokens = Tokens() if tokens is None else tokens
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.base = f"/w/{secret.place}/"
        self.cookie_name = f"rlm_watch_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":  # of the server itself
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            await send(_with_headers(message) if message["type"] == "http.response.start" else message)

        refusal = self.refusal(scope)
        if refusal is not None:
            await _answer(sent, refusal.status, refusal.text)
        elif (exchanged := self._exchanged(scope)) == "used":
            await _answer(sent, 403, USED)
        elif exchanged == "let in":
            cookie = f"{self.cookie_name}={self._secret.cookie}; Path={self.base}; HttpOnly; SameSite=Strict"
            await _answer(sent, 303, "", {"Location": self.base, "Set-Cookie": cookie})
        elif not scope["path"].startswith(self.base) or not self._has_cookie(scope):
            await _answer(sent, 403, WHERE)
        else:
            inner = f"/{scope['path'].removeprefix(self.base)}"
            await self._app({**scope, "path": inner, "raw_path": inner.encode()}, receive, sent)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request is not looked at any further, whoever makes it."""
        if [*_values(scope, b"host")] not in [[host] for host in self._hosts]:
            return Refusal(421, WRONG_HOST)
        if scope["method"] not in METHODS:
            return Refusal(405, "Nothing is changed here: GET and HEAD are all there is.\n")
        if any(site not in FROM_HERE for site in _values(scope, b"sec-fetch-site")):
            return Refusal(403, "This page answers itself, and no other one.\n")
        return None

    def _exchanged(self, scope: Scope) -> Exchanged:
        """What becomes of the token of a request. One that only asks whether there is something (HEAD) uses none."""
        path = scope["path"]
        if scope["method"] != "GET" or not path.startswith(TOKEN_PATH) or not path.endswith("/"):
            return "unknown"
        return self._tokens.exchange(path[len(TOKEN_PATH) : -1])

    def _has_cookie(self, scope: Scope) -> bool:
        pairs = (pair.strip().partition("=") for line in _values(scope, b"cookie") for pair in line.split(";"))
        return any(name == self.cookie_name and self._secret.is_cookie(value) for name, _, value in pairs)


def _values(scope: Scope, wanted: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted)


def _with_headers(message: Message) -> Message:
    """The beginning of an answer, with what it does not say of itself."""
    said = {name.lower() for name, _ in message.get("headers", ())}
    own = ((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
    kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"cache-control"]
    more = [(name, value) for name, value in own if name == b"cache-control" or name not in said]
    return {**message, "headers": [*kept, *more]}


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = text.encode()
    told = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), **(headers or {})}
    rows = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": rows})
    await send({"type": "http.response.body", "body": body})
