"""Lanes: every part is taken once, and errors come out."""

import pytest

from ranking_service.network.lanes import Lanes


@pytest.mark.parametrize("cores", [1, 3])
def test_lanes_take_every_part_once_and_pass_an_error_on(cores: int) -> None:
    lanes = Lanes(cores)
    for count in (0, 1, 2, 7, 50):
        taken: list[int] = []
        lanes.each(taken.append, range(count))
        assert sorted(taken) == list(range(count))
    nested: list[tuple[int, int]] = []
    lanes.each(lambda part: lanes.each(lambda inner: nested.append((part, inner)), range(4)), range(4))
    assert sorted(nested) == [(part, inner) for part in range(4) for inner in range(4)]

    def fail(part: int) -> None:
        if part == 5:
            raise ValueError("part 5")

    with pytest.raises(ValueError, match="part 5"):
        lanes.each(fail, range(20))
    lanes.close()
