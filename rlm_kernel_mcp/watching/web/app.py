"""What the live page asks for, by its address.

Is: routes, and what of a request is looked at. Is not: who may ask (`gate.py`), nor what is answered
(`watching/record/`). Above: `serving.py`. Below: `streams.py`, `static_files.py`, `gate.py`, `watching/record/`,
starlette.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlm_kernel_mcp.errors import InvalidInput, RequestRefused, RlmError, SessionNotFound
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.live.session_stream import opened
from rlm_kernel_mcp.watching.messages.answers import Piece
from rlm_kernel_mcp.watching.messages.stream import BINS_MAX
from rlm_kernel_mcp.watching.record import pieces
from rlm_kernel_mcp.watching.record.history import contexts_of, maps_of
from rlm_kernel_mcp.watching.record.listed import Listed
from rlm_kernel_mcp.watching.record.maps import Maps
from rlm_kernel_mcp.watching.web.gate import DATA_POLICY
from rlm_kernel_mcp.watching.web.static_files import Served, served_files
from rlm_kernel_mcp.watching.web.streams import Readers, encoded, list_events, response, session_events

ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
IMAGE: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,3})", re.ASCII)
SOURCE: Final = re.compile(r"shown-([0-9]{1,3})", re.ASCII)
NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
MAPS_KEPT: Final = 8
ROW_ID_MAX: Final = (1 << 63) - 1


class Answers:
    """What one server answers, of one store."""

    def __init__(self, store: Store, environ: Mapping[str, str]) -> None:
        """`environ`: by which a host is found."""
        self._store, self._environ = store, environ
        self._readers = Readers()
        self._listed, self._list_turn = Listed(store), threading.Lock()
        self._maps, self._map_turn = dict[str, tuple[object, Maps]](), threading.Lock()
        """With the contexts of which each is; the last asked for is the last."""

    async def sessions(self, request: Request) -> Response:
        before = request.query_params.get("before", "")

        def read() -> Any:
            with self._list_turn:
                return self._listed.page(before)

        return _json(await in_reader(read))

    async def changes(self, _request: Request) -> Response:
        self._readers.require_room()
        return response(list_events(self._store, self._readers))

    async def events(self, request: Request) -> Response:
        self._readers.require_room()
        after = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        number = int(after) if NUMBER.fullmatch(after) else 0
        stream = await opened(self._store, self._environ, _session_id(request), number)
        return response(session_events(stream, self._readers))

    async def text(self, request: Request) -> Response:
        asked = request.query_params.get("field", "")
        field = next((one for one in pieces.FIELDS if one == asked), None)
        event, start, session_id = _number(request, "event"), _number(request, "from", 0), _session_id(request)
        read: Callable[[], Piece]
        if (number := SOURCE.fullmatch(asked)) is not None:
            read = partial(pieces.source_piece, self._store, session_id, event, int(number[1]), start)
        elif field is not None:
            read = partial(pieces.text_piece, self._store, session_id, event, field, start)
        else:
            raise InvalidInput(f"field is one of: {', '.join(pieces.FIELDS)}, or shown-N.")
        return _json(await in_reader(read))

    async def window(self, request: Request) -> Response:
        start, end = _number(request, "from", 0), _number(request, "to", ROW_ID_MAX)
        bins = max(1, min(_number(request, "bins", BINS_MAX), BINS_MAX))
        return await self._of_map(request, lambda maps, name: maps.window(name, start, end, bins))

    async def documents(self, request: Request) -> Response:
        if "at" in request.query_params:
            char = _number(request, "at")
            return await self._of_map(request, lambda maps, name: maps.document_at(name, char))
        most = _number(request, "read", 12)
        return await self._of_map(request, lambda maps, name: maps.lanes(name, most))

    async def names(self, request: Request) -> Response:
        return _json(await in_reader(partial(pieces.names_of, self._store, _session_id(request))))

    async def files(self, request: Request) -> Response:
        return _json(pieces.files_of(_session_id(request)))

    async def image(self, request: Request) -> Response:
        named = IMAGE.fullmatch(request.path_params["sha"])
        found = None
        if named is not None and (event := int(named[1])) <= ROW_ID_MAX:
            session_id, number = _session_id(request), int(named[2])
            found = await in_reader(partial(pieces.shown, self._store, session_id, event, number))
        if found is None:
            raise HTTPException(404)
        return Response(found.data, media_type=found.mime_type, headers={"Content-Security-Policy": DATA_POLICY})

    async def _of_map(self, request: Request, read: Callable[[Maps, str], Any]) -> Response:
        session_id, name = _session_id(request), request.query_params.get("context")

        def answer() -> Any:
            with self._map_turn:  # a map is read by one thread at a time
                maps = self._map(session_id)
                maps.refresh()
                if name is not None and name not in maps.contexts:
                    raise SessionNotFound(f"Session {session_id} has no context of that name.")
                return read(maps, name or next(iter(maps.contexts), ""))

        return _json(await in_reader(answer))

    def _map(self, session_id: str) -> Maps:
        record = self._store.session(session_id, whole=False)
        if record is None:
            raise SessionNotFound(f"There is no session {session_id!r}.")
        contexts, found = contexts_of(record), self._maps.pop(session_id, None)
        if found is None or found[0] != contexts:  # one has come, or is loaded now
            found = contexts, maps_of(self._store, record)
        self._maps[session_id] = found
        if len(self._maps) > MAPS_KEPT:
            del self._maps[next(iter(self._maps))]
        return found[1]


def app_of(store: Store, environ: Mapping[str, str], files: Mapping[str, Served] | None = None) -> Starlette:
    """The app, behind no door yet (`gate.py`). `files`: the page's own, where they are not those beside this."""
    answers, page = Answers(store, environ), served_files() if files is None else files

    async def static(request: Request) -> Response:
        found = page.get(request.url.path)
        if found is None:
            raise HTTPException(404)
        return Response(found.data, media_type=found.media_type)

    of = "/api/s/{id}"
    routes: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        ("/api/sessions", answers.sessions),
        ("/api/sessions/events", answers.changes),
        (f"{of}/events", answers.events),
        (f"{of}/text", answers.text),
        (f"{of}/map", answers.window),
        (f"{of}/documents", answers.documents),
        (f"{of}/names", answers.names),
        (f"{of}/files", answers.files),
        (f"{of}/image/{{sha}}", answers.image),
        ("/{path:path}", static),
    ]
    return Starlette(
        routes=[Route(path, answer, methods=["GET"]) for path, answer in routes],
        exception_handlers={RlmError: _refused},
    )


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RlmError)
    status = 404 if isinstance(error, SessionNotFound) else 400 if isinstance(error, InvalidInput) else 503
    status = status if isinstance(error, RequestRefused) else 500
    return _json({"error": error.message, "next_step": error.next_step}, status)


def _session_id(request: Request) -> str:
    session_id: str = request.path_params["id"]
    if not ID.fullmatch(session_id):
        raise SessionNotFound("No session can have that id.")
    return session_id


def _number(request: Request, name: str, otherwise: int | None = None) -> int:
    """A number of the request. Raises: InvalidInput: it is none."""
    given = request.query_params.get(name)
    if given is None and otherwise is not None:
        return otherwise
    if given is None or not NUMBER.fullmatch(given) or int(given) > ROW_ID_MAX:
        raise InvalidInput(f"{name} is a whole number, and not too large.")
    return int(given)


def _json(value: object, status: int = 200) -> Response:
    return Response(encoded(value), status, media_type="application/json")
