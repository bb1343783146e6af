"""Placement of values in one block: no two live values overlap, and little is wasted."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sparing.arena import ALIGNMENT, Interval, place

intervals = st.lists(
    st.builds(
        lambda nbytes, first, length: Interval(nbytes, first, first + length),
        st.integers(0, 5000),
        st.integers(0, 30),
        st.integers(0, 10),
    ),
    max_size=25,
).map(lambda found: dict(enumerate(found)))


@given(intervals)
def test_live_values_never_overlap(values: dict[int, Interval]) -> None:
    layout = place(values)
    for a, b in itertools.combinations(values, 2):
        overlap = values[a].first <= values[b].last and values[b].first <= values[a].last
        if overlap and values[a].nbytes and values[b].nbytes:
            first, second = sorted((a, b), key=lambda k: layout.offsets[k])
            assert layout.offsets[first] + values[first].nbytes <= layout.offsets[second]
    for key, interval in values.items():
        assert layout.offsets[key] % ALIGNMENT == 0
        assert layout.offsets[key] + interval.nbytes <= layout.nbytes
    assert layout.nbytes >= layout.live_peak


def test_a_chain_takes_two_buffers() -> None:
    chain = {i: Interval(6400, i, i + 1) for i in range(10)}
    layout = place(chain)
    assert layout.nbytes == layout.live_peak == 2 * 6400


def test_nothing_needs_nothing() -> None:
    assert place({}).nbytes == 0
