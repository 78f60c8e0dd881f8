"""Who holds which question, and until when, on a clock that the test reads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.session.parked.pile import Parked, Pile

LEASE_S, PATIENCE_S = 10.0, 100.0


def put(pile: Pile, now_s: float = 0.0, step_index: int = 1) -> Parked:
    return pile.put("p", None, None, step_index=step_index, now_s=now_s, on_end=lambda answer, by: None)


def ids(pile: Pile) -> list[int]:
    return [one.id for one in pile.free]


def test_numbers_of_another_step_are_other_numbers() -> None:
    """An answer to a question of an earlier server is taken for none of a later one's, which runs another step."""
    pile = Pile()
    first = [put(pile).id for _ in range(3)]
    second = [put(pile, step_index=2).id for _ in range(3)]
    assert first == [10_001, 10_002, 10_003]
    assert second == [20_001, 20_002, 20_003]
    assert put(Pile(), step_index=2).id == 20_001


def test_a_lost_lease_comes_back_before_the_others() -> None:
    """It costs its time and nothing else; one that was answered meanwhile does not come back."""
    pile = Pile(LEASE_S, PATIENCE_S)
    first, second, third, fourth = (put(pile).id for _ in range(4))
    pile.lease([first, second], 1.0)
    pile.take_out(second)
    assert ids(pile) == [third, fourth]
    assert (pile.waiting, pile.leased, pile.next_s()) == (2, 1, 11.0)
    assert pile.give_back(10.9) == 0
    assert pile.give_back(11.0) == 1
    assert ids(pile) == [first, third, fourth]
    assert pile.take_out(second) is None


def test_a_leased_question_takes_an_answer_from_anybody() -> None:
    """The first one counts."""
    pile = Pile(LEASE_S, PATIENCE_S)
    one = put(pile)
    pile.lease([one.id], 0.0)
    assert pile.take_out(one.id) is one
    assert pile.take_out(one.id) is None
    assert (pile.waiting, pile.leased, pile.next_s()) == (0, 0, None)


def test_nobody_waits_for_ever() -> None:
    """Leased or not."""
    pile = Pile(LEASE_S, PATIENCE_S)
    early, leased, late = put(pile), put(pile), put(pile, 50.0)
    pile.lease([leased.id], 95.0)
    assert pile.overdue(99.9) == []
    assert pile.next_s() == 100.0
    assert pile.overdue(100.0) == [early, leased]
    assert (ids(pile), pile.leased, pile.next_s()) == ([late.id], 0, 150.0)


class Model:
    """The same in the plainest way: for each question until when it is leased, and until when it waits."""

    def __init__(self) -> None:
        self.leased: dict[int, float] = {}
        self.until: dict[int, float] = {}

    def free(self) -> list[int]:
        return [one for one in self.until if one not in self.leased]


WHAT = st.sampled_from(["put", "take", "answer", "answer_any", "pass"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(WHAT, st.integers(0, 7)), max_size=40))
def test_whatever_happens_in_whatever_order_each_question_is_in_one_place(steps: list[tuple[str, int]]) -> None:
    """Free, leased or gone; and the next moment is told at which that changes by itself."""
    pile, model, now_s = Pile(LEASE_S, PATIENCE_S), Model(), 0.0
    for what, number in steps:
        if what == "put":
            model.until[put(pile, now_s).id] = now_s + PATIENCE_S
        elif what == "take":
            taken = model.free()[:number]
            pile.lease(taken, now_s)
            model.leased |= dict.fromkeys(taken, now_s + LEASE_S)
        elif what.startswith("answer"):
            known = model.free() if what == "answer" else sorted(model.until)
            wanted = known[number] if number < len(known) else 99
            assert (pile.take_out(wanted) is not None) is (wanted in model.until)
            model.until.pop(wanted, None)
            model.leased.pop(wanted, None)
        else:
            now_s += number * 7.0
            lost = [one for one, until_s in model.leased.items() if until_s <= now_s]
            assert pile.give_back(now_s) == len(lost)
            model.leased = {one: until_s for one, until_s in model.leased.items() if one not in lost}
            over = [one for one, until_s in model.until.items() if until_s <= now_s]
            assert [one.id for one in pile.overdue(now_s)] == over
            for one in over:
                del model.until[one]
                model.leased.pop(one, None)
        assert ids(pile) == model.free()
        assert (pile.waiting, pile.leased) == (len(model.free()), len(model.leased))
        assert pile.next_s() == min([*model.until.values(), *model.leased.values()], default=None)
