"""Values in their order, against a sorted list."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.stores.tasks import ordered
from bgtasks.stores.tasks.ordered import Ordered


@pytest.fixture(autouse=True, scope="module")
def short_lists() -> Iterator[None]:
    """Lists that are split after a few values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "LONGEST", 4)
        yield


@given(steps=st.lists(st.integers(0, 40)), asked=st.integers(-1, 41))
def test_it_is_like_a_sorted_list(steps: list[int], asked: int) -> None:
    values, model = Ordered[int](), set[int]()
    for each in steps:  # what is there is taken out, what is not is put in
        if each in model:
            model.remove(each)
            values.remove(each)
        else:
            model.add(each)
            values.add(each)
        assert list(values.after(None)) == sorted(model)
        assert list(values.after(asked)) == sorted(one for one in model if one > asked)
        assert len(values) == len(model)
