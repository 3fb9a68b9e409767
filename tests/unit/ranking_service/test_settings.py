"""Settings that are refused."""

import sys

import pytest

from ranking_service.settings import RankingSettings


def test_without_faiss_two_stages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="two_stage_above: needs faiss"):
        RankingSettings.model_validate({"two_stage_above": 10})
