"""What a cell says, of a record and as outputs of a notebook."""

from __future__ import annotations

import base64
from typing import Any, Final

from rlm_kernel_mcp.notebook.form.outputs import Picture, Said
from tests.unit.kernel.untrusted.shown.drawn import png

PNG: Final = base64.b64encode(png()).decode("ascii")


def test_outputs_are_read_as_they_were_written() -> None:
    """Also where a kernel has numbered them otherwise."""
    said = Said.of("out\n", "err\n", "4", ("ValueError", "no", "Traceback\nValueError: no"))
    assert Said.of_outputs(said.outputs(3)) == said == Said.of_outputs(said.outputs(None))
    assert Said.of_outputs([]) == Said()


def test_the_pieces_of_a_stream_and_the_text_of_a_display_are_what_was_printed() -> None:
    """As other clients have them: line by line, and between other outputs."""
    outputs: list[dict[str, Any]] = [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]},
        {"output_type": "stream", "name": "stderr", "text": "e"},
        {"output_type": "display_data", "data": {"text/plain": ["shown"], "image/png": "x"}, "metadata": {}},
        {"output_type": "stream", "name": "stdout", "text": "c"},
    ]
    assert Said.of_outputs(outputs) == Said("a\nbshown\nc", "e")


def test_pictures_are_outputs_and_what_is_no_picture_is_none() -> None:
    """Looked through, also where a file has them: another client keeps them as the kernel has sent them."""
    shown = [("image/png", PNG, 1), ("text/html", "<b>", 1), ("image/png", PNG, 0)]
    said = Said.of("printed", None, "Figure", None, shown)
    assert said.pictures == (Picture("image/png", PNG), Picture("image/png", PNG, is_result=True))
    stream, display, result = said.outputs(2)
    assert stream["output_type"] == "stream"
    assert display == {"output_type": "display_data", "data": {"image/png": PNG}, "metadata": {}}
    assert result["data"] == {"text/plain": "Figure", "image/png": PNG}
    assert Said.of_outputs(said.outputs(2)) == said
    assert said.differs_from(Said("printed", "", "Figure")) == ["pictures"]
    for data in ("x", "aGVsbG8=", 5, [PNG, "more"]):
        hostile = {"output_type": "display_data", "data": {"image/png": data}, "metadata": {}}
        assert Said.of_outputs([hostile]).pictures == ()


def test_texts_are_safe_to_show() -> None:
    """Raw ones, and those of a file that is anybody's."""
    assert Said.of("\x1b[2J", None, "\u202ex", None) == Said("\\x1b[2J", "", "\\u202ex")
    assert Said.of_outputs([{"output_type": "stream", "name": "stdout", "text": "\x1b[2J"}]).stdout == "\\x1b[2J"


def test_what_is_no_output_says_nothing() -> None:
    """Of a file that anybody wrote."""
    nothing: list[Any] = [None, 5, {}, {"output_type": "stream"}, {"output_type": "execute_result", "data": 5}]
    assert Said.of_outputs(nothing) == Said()
    error = Said.of_outputs([{"output_type": "error", "ename": 5, "traceback": [6, "line"]}]).error
    assert error == ("", "", "line")


def test_it_is_said_in_which_parts_two_differ() -> None:
    one, other = Said("a", "", "1"), Said("b", "", "1", ("E", "", ""))
    assert one.differs_from(other) == ["stdout", "error"]
    assert one.differs_from(one) == []


def test_a_stream_in_very_many_pieces_is_put_together_in_a_time_that_grows_with_its_length() -> None:
    piece = {"output_type": "stream", "name": "stdout", "text": "x" * 100}
    assert len(Said.of_outputs([piece] * 200_000).stdout) == 20_000_000
