"""The window plan of behaviour.md section 5, by hand and by its invariants."""

import pytest

from clamp3.embedding.windows import windows


@pytest.mark.parametrize(
    ("n", "limit", "plan"),
    [
        (0, 4, []),
        (1, 4, [(0, 1, 1)]),
        (4, 4, [(0, 4, 4)]),
        (5, 4, [(0, 4, 4), (1, 5, 1)]),
        (8, 4, [(0, 4, 4), (4, 8, 4)]),
        (11, 4, [(0, 4, 4), (4, 8, 4), (7, 11, 3)]),
        (3, 1, [(0, 1, 1), (1, 2, 1), (2, 3, 1)]),
    ],
)
def test_plans_by_hand(n, limit, plan):
    assert windows(n, limit) == plan


def test_every_item_is_new_in_exactly_one_window():
    for limit in range(1, 9):
        for n in range(40):
            plan = windows(n, limit)
            new = [item for start, stop, weight in plan for item in range(stop - weight, stop)]
            assert new == list(range(n))
            assert all(stop - start == min(n, limit) for start, stop, _ in plan)


@pytest.mark.parametrize(("n", "limit"), [(-1, 4), (4, 0), (4, -2)])
def test_impossible_sizes_are_refused(n, limit):
    with pytest.raises(ValueError, match="n >= 0 and limit >= 1"):
        windows(n, limit)
