"""The door of the live page: by which name it is asked, by whom, and with what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rlm_kernel_mcp.watching.web.gate import HEADERS, PAGE_POLICY, Gate
from rlm_kernel_mcp.watching.web.secret import Secret, Tokens

PORT = 8765
SECRET = Secret("t" * 43)
TOKEN = "u" * 43
BASE = f"/w/{SECRET.place}/"
COOKIE = f"rlm_watch_{PORT}={SECRET.cookie}"
Headers = dict[str, str]


async def app(scope: Any, _receive: Any, send: Any) -> None:
    """Whoever got here was let in."""
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"max-age=1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": f"let in to {scope['path']}".encode()})


def tokens(*, current: str = TOKEN) -> Tokens:
    """Those of one process."""
    made = Tokens()
    made.current = current
    return made


def answered(
    headers: Headers, path: str = BASE, method: str = "GET", kind: str = "http", of: Tokens | None = None
) -> tuple[int, Headers, str]:
    """Status, headers and text of an answer. `of`: the tokens of a process that was asked before."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": method, "path": path, "headers": raw}
    asyncio.run(Gate(app, SECRET, PORT, of or tokens())(scope, receive, send))
    if kind != "http":
        return sent[0]["code"], {}, ""
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"].decode()


def with_host(**headers: str) -> Headers:
    return {"host": f"127.0.0.1:{PORT}"} | {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}"])
def test_whoever_has_the_cookie_is_let_in(host: str) -> None:
    assert answered({"host": host, "cookie": f"other=1; {COOKIE}"})[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"[::1]:{PORT}", f"LOCALHOST:{PORT}", ""],
)
def test_by_another_name_nobody_is_answered(host: str) -> None:
    status, _, text = answered({"host": host, "cookie": COOKIE})
    assert (status, "let in" in text) == (421, False)


def test_without_a_name_nobody_is_answered() -> None:
    assert answered({"cookie": COOKIE})[0] == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "get"])
def test_nothing_can_be_changed(method: str) -> None:
    assert answered(with_host(cookie=COOKIE), method=method)[0] == 405


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other", ""])
def test_no_other_page_is_answered(site: str) -> None:
    assert answered(with_host(cookie=COOKIE, sec_fetch_site=site))[0] == 403


@pytest.mark.parametrize("path", ["/", "/w/", f"/w/{'0' * 32}/", BASE[:-1], f"/x{BASE}"])
def test_elsewhere_nobody_is_told_anything_with_the_cookie_either(path: str) -> None:
    assert answered(with_host(cookie=COOKIE), path)[0] == 403


@pytest.mark.parametrize(
    ("path", "inner"), [(BASE, "/"), (f"{BASE}api/sessions", "/api/sessions")], ids=["page", "api"]
)
def test_what_is_asked_for_lies_below_the_page(path: str, inner: str) -> None:
    assert answered(with_host(cookie=COOKIE), path)[2] == f"let in to {inner}"


def test_the_place_of_the_page_lets_nobody_in() -> None:
    """It stands in the address, and in the browser's history."""
    assert SECRET.place not in SECRET.cookie
    assert SECRET.place not in SECRET.key
    assert answered(with_host(cookie=f"rlm_watch_{PORT}={SECRET.place}"))[0] == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_page_itself_and_its_user_are_answered(site: str) -> None:
    assert answered(with_host(cookie=COOKIE, sec_fetch_site=site))[0] == 200


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "rlm_watch_8765=",
        f"rlm_watch_1={SECRET.cookie}",
        f"rlm_watch_8765={SECRET.key}",
        f"rlm_watch_8765={TOKEN}",
        f"{COOKIE}x",
        "rlm_watch_8765=é",
    ],
    ids=range(7),
)
def test_without_the_cookie_nobody_is_told_anything(cookie: str) -> None:
    status, _, text = answered(with_host(cookie=cookie))
    assert status == 403
    assert "rlm-kernel-mcp watch" in text


def test_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    status, headers, _ = answered(with_host(sec_fetch_site="none"), f"/t/{TOKEN}/")
    assert (status, headers["location"]) == (303, BASE)
    assert headers["set-cookie"] == f"{COOKIE}; Path={BASE}; HttpOnly; SameSite=Strict"
    assert TOKEN not in str(headers)


@pytest.mark.parametrize(
    "path", ["/t/", "/t//", f"/t/{'v' * 43}/", f"/t/{SECRET.key}/", f"/t/{TOKEN}", f"/t/{TOKEN}/x", "/t/é/"]
)
def test_another_token_is_none(path: str) -> None:
    status, headers, _ = answered(with_host(), path)
    assert (status, "set-cookie" in headers) == (403, False)


def test_a_token_lets_in_one_browser_alone_and_the_next_one_is_told_how_to_get_another() -> None:
    printed: list[str] = []
    kept = Tokens(printed.append)
    first = kept.current
    assert answered(with_host(), f"/t/{first}/", of=kept)[0] == 303
    status, headers, text = answered(with_host(), f"/t/{first}/", of=kept)
    assert (status, "set-cookie" in headers) == (403, False)
    assert "has let a browser in" in text
    assert "has printed a new one" in text
    assert printed == [kept.current]
    assert answered(with_host(), f"/t/{printed[0]}/", of=kept)[0] == 303


def test_whoever_only_asks_whether_there_is_something_uses_no_token() -> None:
    """Some programs look at an address that stands in a text before anybody opens it."""
    kept = tokens()
    assert answered(with_host(), f"/t/{TOKEN}/", "HEAD", of=kept)[0] == 403
    assert answered(with_host(), f"/t/{TOKEN}/", of=kept)[0] == 303


def test_a_page_of_another_site_cannot_exchange_the_token() -> None:
    assert answered(with_host(sec_fetch_site="cross-site"), f"/t/{TOKEN}/")[0] == 403


@pytest.mark.parametrize("headers", [{}, with_host(), with_host(cookie=COOKIE)], ids=["no name", "no cookie", "let in"])
def test_every_answer_has_the_headers_once(headers: Headers) -> None:
    _, found, _ = answered(headers)
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= found.items()
    assert found["content-security-policy"] == PAGE_POLICY


def test_the_policy_is_the_design_s_to_the_letter() -> None:
    assert PAGE_POLICY == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def test_there_are_no_web_sockets() -> None:
    assert answered(with_host(cookie=COOKIE), kind="websocket")[0] == 1008
