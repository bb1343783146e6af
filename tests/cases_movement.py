"""Cases of operators that move whole channels."""

from __future__ import annotations

from case_builders import Case, make

from sparing.ops import fused_spec as fs


def _shuffle(groups: int, each: int) -> tuple[int, ...]:
    return tuple(g * each + i for i in range(each) for g in range(groups))


def all_cases() -> list[Case]:
    cases: list[Case] = []
    for element in ("uint8", "float32"):
        for name, channels, shape in (
            ("one of one", (0,), (1, 1, 1, 1)),
            ("slice of one", (2,), (2, 3, 4, 5)),
            ("slice", tuple(range(3, 40)), (2, 41, 3, 3)),
            ("shuffle of 2", _shuffle(2, 58), (1, 116, 5, 7)),
            ("shuffle of 2, few", _shuffle(2, 3), (2, 6, 2, 3)),
            ("shuffle of 2, sliced", _shuffle(2, 37)[:37], (1, 74, 3, 1)),
            ("shuffle of 2, sliced even", _shuffle(2, 38)[38:], (3, 76, 1, 1)),
            ("shuffle of 3", _shuffle(3, 11), (1, 33, 6, 5)),
            ("reversed, repeated", (*range(17, -1, -1), 5, 5, 17), (2, 18, 3, 4)),
            ("two runs", (*range(20, 45), *range(30)), (1, 45, 70, 9)),
        ):
            spec = fs.SelectChannels(channels, element)
            cases.append(make(f"select {element} {name}", spec, shape))
    concat = [
        make("concat f32, one part", fs.ConcatF32(1), (1, 3, 4, 5)),
        make("concat f32, one pixel", fs.ConcatF32(2), (3, 5, 1, 1), (3, 70, 1, 1)),
        make("concat f32, four", fs.ConcatF32(4), *((2, c, 5, 3) for c in (1, 64, 31, 17))),
        make("concat f32, special", fs.ConcatF32(2), *[(1, 9, 8, 8)] * 2, values="special"),
    ]
    return [*cases, *concat]
