"""The digest of a review's content."""

import pytest

from embedding_service.ports import content_digest


@pytest.mark.parametrize(
    "changed",
    [("q", 4.5, "t", "x", None), ("p", 4.0, "t", "x", None), ("p", 4.5, "tx", "", None), ("p", 4.5, "t", "x", 0)],
)
def test_the_digest_tells_any_change_of_content(changed: tuple[str, float, str, str, int | None]) -> None:
    assert content_digest("p", 4.5, "t", "x", None) == content_digest("p", 4.5, "t", "x", None)
    assert content_digest(*changed) != content_digest("p", 4.5, "t", "x", None)
