"""The leak audit, with and without a leak."""

import pytest

from trainer.data.reviews import Reviews
from trainer.evaluation import leak
from trainer.features.popularity import shrunk_item_means
from trainer.progress import Progress


def test_the_leak_audit_passes_and_finds_a_planted_leak(reviews: Reviews, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no difference" in leak.audit(reviews, folds=2, progress=Progress())
    monkeypatch.setattr(leak, "shrunk_item_means", lambda found, rows: shrunk_item_means(found, len(found)))
    with pytest.raises(leak.LeakFound, match="fold 1: item means"):
        leak.audit(reviews, folds=2, progress=Progress())
