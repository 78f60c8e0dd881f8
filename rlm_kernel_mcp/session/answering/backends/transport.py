"""The way to an endpoint: what leaves and what comes back, whatever the client's library does.

Is: the one module that imports `openai` and `httpx2`; it is imported in a thread, at the first question. Headers go out
by a list, the key among them, which the library never has; nothing of this process's environment counts; no redirect is
followed; a reply has a bound, and is not unpacked. Is not: the meaning of a reply (`replies.py`).
Above: `openai_api.py`. Below: `protocol.py`, `openai`, `httpx2`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed has it for macOS alone

import httpx2
import openai

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.backends.protocol import ATTEMPTS, Unanswered
from rlm_kernel_mcp.variables.subcalls import Secret, SubcallSettings, is_loopback

REPLY_BYTES_MAX: Final = 4_000_000
REPLY_PIECES_MAX: Final = 20_000
"""In which a reply may come: each takes some 40 us, however small it is, and memory of its own until all are there."""
TURN_S: Final = 0.005
"""So long pieces that have come already are taken in one turn of the loop."""
CONNECT_S: Final = 10.0
SENT: Final = frozenset({"host", "content-type", "content-length", "accept", "connection"})
"""Headers of the library that go out as they are."""
NOT_THE_KEY: Final = "-"
"""What the library has for a key."""


class Bounded(httpx2.AsyncByteStream):
    """A reply's body of at most so many bytes, in so many pieces."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, pieces, turn_s = REPLY_BYTES_MAX, 0, time.monotonic() + TURN_S
        async for piece in self._inner:
            left, pieces = left - len(piece), pieces + 1
            if left < 0:
                raise _too_large(f"was longer than {REPLY_BYTES_MAX:,} bytes")
            if pieces > REPLY_PIECES_MAX:
                raise _too_large(f"came in more than {REPLY_PIECES_MAX:,} pieces")
            if time.monotonic() > turn_s:  # the library waits only where it has to read
                await asyncio.sleep(0)
                turn_s = time.monotonic() + TURN_S
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def _too_large(what: str) -> Unanswered:
    return Unanswered("too_large", f"The endpoint's answer {what}.", is_paid=True)


class Wall(httpx2.AsyncBaseTransport):
    """What goes through to the endpoint, and back."""

    def __init__(self, inner: Any, key: Secret | None, key_header: str) -> None:
        self._inner = inner
        self._key = key
        self._key_header = key_header

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() in SENT]
        headers += [("accept-encoding", "identity"), ("user-agent", "rlm-kernel-mcp")]
        if self._key is not None:
            scheme = "Bearer " if self._key_header == "authorization" else ""
            headers.append((self._key_header, scheme + self._key.value))
        request.headers = httpx2.Headers(headers)
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise Unanswered("backend", "The endpoint's answer was packed, which was not asked for.", is_paid=True)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=Bounded(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def client_of(settings: SubcallSettings, key: Secret | None) -> Any:
    """The library's client, behind the wall.

    Raises:
        InvalidInput: the user's certificates or proxy cannot be used.
    """
    url = urlsplit(settings.url)
    proxy = proxy_for(url.scheme, url.hostname or "", url.port, dict(settings.proxies))
    limits = httpx2.Limits(max_connections=settings.parallel, max_keepalive_connections=settings.parallel)
    try:
        verify = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else _system_s_certificates()
        inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits, proxy=proxy)
    except (OSError, ImportError, ValueError) as error:
        # Without its text: a proxy's URL may have a password in it.
        raise InvalidInput(
            f"SSL_CERT_FILE or the proxy's setting cannot be used ({type(error).__name__}).", "Correct them."
        ) from None
    wall = Wall(inner, key, "api-key" if settings.azure_version else "authorization")
    http = httpx2.AsyncClient(
        transport=wall, trust_env=False, follow_redirects=False, timeout=httpx2.Timeout(None, connect=CONNECT_S)
    )
    # What is left out here the library would look for in the environment of this process, which is not the client's.
    common: dict[str, Any] = {"api_key": NOT_THE_KEY, "admin_api_key": "", "organization": "", "project": ""}
    common |= {"webhook_secret": "", "max_retries": 0, "http_client": http}
    if settings.azure_version:
        return openai.AsyncAzureOpenAI(azure_endpoint=settings.url, api_version=settings.azure_version, **common)
    return openai.AsyncOpenAI(base_url=settings.url, **common)


@cache
def _system_s_certificates() -> ssl.SSLContext:
    """Of all clients: to read them takes a tenth of a second."""
    return httpx2.create_ssl_context(trust_env=False)


async def sent(client: Any, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Send a request; returns the reply's status, its headers with names in small letters, and its body.

    Raises:
        Unanswered: there is no reply.
    """
    try:
        response = await client.post(path, cast_to=httpx2.Response, body=body)
    except openai.APIStatusError as error:
        response = error.response
    except openai.APITimeoutError:
        raise Unanswered(
            "backend", f"The endpoint takes no connection within {CONNECT_S:.0f} s.", tries=ATTEMPTS
        ) from None
    except openai.APIConnectionError as error:
        raise _unreachable(error) from None
    except openai.OpenAIError as error:
        raise Unanswered("backend", f"The question could not be asked ({type(error).__name__}).") from None
    return response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content


def _unreachable(error: BaseException) -> Unanswered:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 10:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(one, ssl.SSLError) for one in causes):
        return Unanswered(
            "backend", "There is no trusted TLS connection to the endpoint; SSL_CERT_FILE names certificates to trust."
        )
    if any(isinstance(one, httpx2.ConnectError | httpx2.ProxyError) for one in causes):
        return Unanswered("backend", "The endpoint cannot be reached.", tries=ATTEMPTS)
    return Unanswered("backend", "The connection to the endpoint broke off.", tries=ATTEMPTS, is_paid=True)


def proxy_for(scheme: str, host: str, port: int | None, proxies: dict[str, str]) -> str | None:
    """The proxy that the user's variables mean for an endpoint. What stays on this machine goes through none."""
    with_port = f"{host}:{port}" if port else host
    if is_loopback(host) or ("no" in proxies and proxy_bypass_environment(with_port, proxies)):
        return None
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
