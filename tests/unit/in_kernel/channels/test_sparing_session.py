"""A kernel's own session writes and reads the messages that jupyter_client's does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import zmq
from jupyter_client.session import DELIM, Session

from rlm_kernel_mcp.in_kernel.channels.sparing_session import SparingSession

KEY = b"a key of theirs"


class Frames(list[bytes]):
    """What is sent last, in place of a socket."""

    def __bool__(self) -> bool:
        return True

    def send_multipart(self, frames: list[bytes], *, copy: bool) -> None:
        assert copy
        self[:] = frames


@pytest.fixture
def own() -> SparingSession:
    return SparingSession(key=KEY, username="kernel")


@pytest.fixture
def theirs() -> Session:
    return Session(key=KEY, username="client")


def request(theirs: Session, msg_type: str = "execute_request") -> tuple[dict[str, Any], list[bytes]]:
    """A client's message, and its frames after the identities."""
    message = theirs.msg(msg_type, {"code": "x = 1"}, metadata={"cellId": "c1"})
    return message, theirs.serialize(message)[1:]


def test_a_client_reads_what_the_kernel_sends(own: SparingSession, theirs: Session) -> None:
    asked = own.deserialize(request(theirs)[1])
    sent = Frames()
    told = own.send(sent, "stream", {"text": "größer"}, asked, [b"one", b"two"], metadata={"kept": 1})
    identities, frames = theirs.feed_identities(list(sent))
    heard = theirs.deserialize(frames)
    assert identities == [b"one", b"two"]
    assert told is not None
    assert heard["header"]["msg_id"] == told["header"]["msg_id"]
    assert heard["header"]["msg_type"] == "stream"
    assert isinstance(heard["header"]["date"], datetime)
    assert heard["parent_header"]["msg_id"] == asked["header"]["msg_id"]
    assert (heard["content"], heard["metadata"]) == ({"text": "größer"}, {"kept": 1})


def test_each_message_has_its_own_parent_whatever_was_sent_before(own: SparingSession, theirs: Session) -> None:
    parents = [own.deserialize(request(theirs)[1]) for _ in range(2)]
    for parent in (*parents, *parents, {}):
        frames = own.serialize(own.msg("status", {}, parent))
        heard = theirs.deserialize(frames[1:])["parent_header"]
        assert heard.get("msg_id") == parent.get("msg_id")


@pytest.mark.parametrize("copied", [True, False])
def test_the_kernel_reads_what_a_client_sends(own: SparingSession, theirs: Session, copied: bool) -> None:
    message, frames = request(theirs)
    parts: list[Any] = [*frames, b"a buffer"]
    heard = own.deserialize(parts if copied else [zmq.Frame(part) for part in parts], copy=copied)
    assert heard["header"]["msg_id"] == message["msg_id"]
    assert (heard["msg_type"], heard["content"]) == ("execute_request", {"code": "x = 1"})
    assert heard["metadata"] == {"cellId": "c1"}
    assert [bytes(buffer) for buffer in heard["buffers"]] == [b"a buffer"]


def test_a_message_that_is_unsigned_or_wrongly_signed_or_comes_twice_is_refused(
    own: SparingSession, theirs: Session
) -> None:
    _, frames = request(theirs)
    with pytest.raises(ValueError, match="Invalid Signature"):
        own.deserialize([frames[0], frames[1], frames[2], frames[3], b'{"code": "y"}'])
    with pytest.raises(ValueError, match="Unsigned Message"):
        own.deserialize([b"", *frames[1:]])
    _, other = request(theirs)
    own.deserialize(other)
    with pytest.raises(ValueError, match="Duplicate Signature"):
        own.deserialize(other)


def test_a_client_of_an_older_protocol_is_read_as_well(own: SparingSession, theirs: Session) -> None:
    message = theirs.msg("execute_request", {"code": "x = 1", "silent": False, "user_variables": []})
    message["header"]["version"] = "4.1"
    heard = own.deserialize(theirs.serialize(message)[1:])
    assert heard["content"]["code"] == "x = 1"
    assert "user_variables" not in heard["content"]


def test_buffers_and_messages_that_are_made_already_go_the_library_s_way(own: SparingSession, theirs: Session) -> None:
    sent = Frames()
    own.send(sent, "comm_msg", {"data": {}}, {}, None, [b"raw"])
    assert sent[0] == DELIM
    assert sent[-1] == b"raw"
    own.send(sent, own.msg("display_data", {"data": {}}))
    assert theirs.deserialize(sent[1:])["msg_type"] == "display_data"
