"""The budget of a step's printed output, over a real publishing socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq
from ipykernel.iostream import IOPubThread
from jupyter_client.session import Session

from rlm_kernel_mcp.in_kernel.channels.output import MESSAGE_CHARS, BudgetedOutStream


class SmallStream(BudgetedOutStream):
    """1,000 characters a step: 900 at once, 100 at its end."""

    budget_chars = 1_000
    tail_chars = 100


class Wire:
    """A stream, and what arrives at the other end of its socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.session = Session(key=b"of this test")
        publisher = context.socket(zmq.XPUB)
        publisher.bind("inproc://iopub")
        self.reader = context.socket(zmq.SUB)
        self.reader.rcvtimeo = 10_000
        self.reader.connect("inproc://iopub")
        self.reader.subscribe(b"")
        publisher.recv()  # the subscription has arrived
        # Not started: it then sends at once.
        self.thread = IOPubThread(publisher, pipe=False, session=self.session)  # type: ignore[no-untyped-call]
        self.stream = SmallStream(self.session, self.thread, "stdout", watchfd=False)
        self.stream.set_parent({"header": {"msg_id": "step-1"}})  # type: ignore[no-untyped-call]

    def received(self) -> list[str]:
        """The texts of the messages that have been sent, after a flush."""
        self.stream._flush()
        texts = []
        while self.reader.poll(0):
            _, parts = self.session.feed_identities(self.reader.recv_multipart())
            texts.append(self.session.deserialize(parts)["content"]["text"])
        return texts


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A stream whose messages can be read."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = Wire(context)
    yield made
    made.thread.io_loop.close()
    context.destroy(linger=0)


def test_what_fits_the_budget_goes_out_as_it_comes(wire: Wire) -> None:
    """Ours: nothing is added and nothing waits for the end of the step."""
    wire.stream.begin_step()
    assert wire.stream.write("a" * 899) == 899
    assert wire.received() == ["a" * 899]
    assert wire.stream.finish_step() == 0
    assert wire.received() == []


def test_the_last_characters_come_at_the_end_of_the_step(wire: Wire) -> None:
    """Ours: what exceeds the head by no more than the tail is not lost, and no word is said."""
    wire.stream.begin_step()
    wire.stream.write("a" * 890)
    for _ in range(11):
        wire.stream.write("0123456789")
    assert wire.received() == ["a" * 890 + "0123456789"]
    assert wire.stream.finish_step() == 0
    assert wire.received() == ["0123456789" * 10]


def test_what_lies_between_head_and_tail_is_counted(wire: Wire) -> None:
    """Ours: exactly."""
    wire.stream.begin_step()
    for number in range(100_000):
        wire.stream.write(f"{number:09}\n")
    assert "".join(wire.received()) == "".join(f"{number:09}\n" for number in range(90))
    assert wire.stream.finish_step() == 1_000_000 - 1_000
    notice, _, tail = wire.received()[0].partition("]\n")
    assert notice == "\n[999,000 characters of stdout were dropped here; 900 before and 100 after were kept"
    assert tail == "".join(f"{number:09}\n" for number in range(99_990, 100_000))


def test_one_write_larger_than_everything_keeps_its_two_ends(wire: Wire) -> None:
    """Ours: as if it had come in pieces."""
    wire.stream.begin_step()
    assert wire.stream.write("a" * 900 + "b" * 10_000 + "c" * 100) == 11_000
    assert wire.received() == ["a" * 900]
    assert wire.stream.finish_step() == 10_000
    assert wire.received()[0].endswith("]\n" + "c" * 100)


def test_the_next_step_has_a_budget_of_its_own(wire: Wire) -> None:
    """Ours: counted anew."""
    for _ in range(2):
        wire.stream.begin_step()
        wire.stream.write("a" * 1_001)
        assert wire.stream.finish_step() == 1
        assert wire.received()[0].startswith("a" * 900 + "\n[1 characters of stdout were dropped here")


def test_what_a_thread_prints_after_a_step_past_the_budget_is_not_lost(wire: Wire) -> None:
    """Ours: it comes with the next step, and does not use that step's budget."""
    wire.stream.begin_step()
    wire.stream.write("a" * 900)
    wire.stream.finish_step()
    late = threading.Thread(target=wire.stream.write, args=("from a thread\n",))
    late.start()
    late.join()
    assert wire.received() == ["a" * 900]
    wire.stream.begin_step()
    wire.stream.write("b" * 900)
    assert wire.received() == ["from a thread\n" + "b" * 900]


def test_threads_that_print_at_once_lose_no_character(wire: Wire) -> None:
    """Ours: the account is kept under the stream's lock."""
    wire.stream.begin_step()
    threads = [threading.Thread(target=lambda: [wire.stream.write("abcde") for _ in range(2_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    head = "".join(wire.received())
    assert (len(head), wire.stream.finish_step()) == (900, 4 * 10_000 - 1_000)


def test_no_message_is_larger_than_a_quarter_of_a_megabyte(wire: Wire) -> None:
    """Ours: whatever the characters; together they are the text."""
    wire.stream.budget_chars = 1_000_000
    wire.stream.begin_step()
    text = "𝄞" * (2 * MESSAGE_CHARS + 1)
    wire.stream.write(text)
    texts = wire.received()
    assert [len(part) for part in texts] == [MESSAGE_CHARS, MESSAGE_CHARS, 1]
    assert max(len(part.encode()) for part in texts) <= 262_144


def test_a_lone_surrogate_is_written_out(wire: Wire) -> None:
    """Ours: Jupyter's packer would fail on one kind and write bytes that are not UTF-8 for the other."""
    wire.stream.write("a\ud800b\udc80c")
    assert wire.received() == ["a\\ud800b\\udc80c"]


def test_only_text_can_be_printed_and_a_subclass_is_taken_for_its_text(wire: Wire) -> None:
    """Source: `io.TextIOBase.write`; a subclass may lie about its length."""

    class Liar(str):
        __slots__ = ()

        def __len__(self) -> int:
            return 0

    assert wire.stream.write(Liar("abc")) == 3
    assert wire.received() == ["abc"]
    with pytest.raises(TypeError, match="must be str, not bytes"):
        wire.stream.write(b"abc")  # type: ignore[arg-type]
