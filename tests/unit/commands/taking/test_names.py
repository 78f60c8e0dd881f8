"""Names that a kernel gives are names that a person's disk and terminal can have."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.commands.taking.names import DEPTH_MAX, NAME_BYTES_MAX, Names

LONG = "ä" * 300


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("plot.png", ("plot.png",)),
        ("a/b/data 2026-11.csv", ("a", "b", "data 2026-11.csv")),
        ("Größe (Ω), 表.txt", ("Größe (Ω), 表.txt",)),
        (unicodedata.normalize("NFD", "Größe"), ("Größe",)),
        ("../../x", ("_.", "_.", "x")),
        ("/etc/passwd", ("etc", "passwd")),
        ("a//b/./c", ("a", "b", "_", "c")),
        ("", ("_",)),
        ("///", ("_",)),
        (".bashrc", ("_bashrc",)),
        ("~/.ssh/authorized_keys", ("_", "_ssh", "authorized_keys")),
        ("-rf", ("_rf",)),
        (" x", ("_x",)),
        ("x\ny\x1b[2J\0\x7f", ("x_y_[2J__",)),
        ("a\\b:c*d?e|f<g>h\"i'j`k$l;m&n", ("a_b_c_d_e_f_g_h_i_j_k_l_m_n",)),
        ("exe\u202efdp.txt", ("exe_fdp.txt",)),
        ("\ud800\udcff", ("__",)),
        ("x\u3164\u115f\u200b\u2800.txt", ("x____.txt",)),
        ("x" * 300 + ".tar.gz", ("x" * 196 + "~.gz",)),
        (LONG + ".csv", ("ä" * 97 + "~.csv",)),
        (LONG, ("ä" * 99 + "~",)),
    ],
)
def test_a_name_is_plain_and_leads_nowhere_else(name: str, path: tuple[str, ...]) -> None:
    assert Names().given(name) == path


def test_two_names_that_would_be_one_get_a_number() -> None:
    """Also where a disk takes capital letters for small ones."""
    names = Names()
    given_names = [names.given(name) for name in ("a?.csv", "a*.csv", "A_.CSV", "a_", "a|", "d/a_", "a_ (2)")]
    assert given_names == [
        ("a_.csv",),
        ("a_ (2).csv",),
        ("A_ (3).CSV",),
        ("a_",),
        ("a_ (2)",),
        ("d", "a_"),
        ("a_ (2) (2)",),
    ]


def test_thousands_of_names_that_would_be_one_cost_no_more_than_others() -> None:
    """A kernel may list 4,096 of any kind."""
    names = Names()
    given_names = [names.given(chr(0xE000 + number)) for number in range(4_096)]
    assert given_names[0] == ("_",)
    assert given_names[-1] == ("_ (4096)",)
    assert len(names._numbers) == 1


def test_what_lies_too_deep_lies_in_the_last_directory() -> None:
    path = Names().given("/".join("abcdefghijkl"))
    assert path == (*"abcdefg", "h_i_j_k_l")
    assert len(path) == DEPTH_MAX


@given(st.lists(st.text(max_size=40), max_size=6))
def test_no_name_is_hidden_an_option_another_one_s_or_too_long(names: list[str]) -> None:
    """Whatever characters it has."""
    taken = Names()
    paths = [taken.given(name) for name in names]
    for path in paths:
        assert 0 < len(path) <= DEPTH_MAX
        for part in path:
            assert part
            assert part.isprintable()
            assert part[0] not in ".-~ /"
            assert "/" not in part
            assert len(part.encode()) <= NAME_BYTES_MAX + 10
    assert len({"/".join(path).casefold() for path in paths}) == len(paths)
