"""Settings that are refused."""

import sys
from pathlib import Path

import pytest

from ranking_service.settings import RankingSettings
from twotower.errors import InvalidFile


def test_without_faiss_two_stages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="two_stage_above: needs faiss"):
        RankingSettings.model_validate({"two_stage_above": 10})


def test_the_key_of_page_tokens_is_the_files_or_random(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(65, 97)) + b"\n")
    assert RankingSettings.model_validate({"page_token_key": key}).read_page_token_key() == bytes(range(65, 97))
    random = [RankingSettings.model_validate({}).read_page_token_key() for _ in range(2)]
    assert random[0] != random[1]
    assert {len(made) for made in random} == {32}


@pytest.mark.parametrize(
    ("content", "problem"), [(b"short", "at least 32 random bytes, got 5"), (None, "can't be read")]
)
def test_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, content: bytes | None, problem: str) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(InvalidFile, match=f"{key}: page_token_key: .*{problem}"):
        RankingSettings.model_validate({"page_token_key": key}).read_page_token_key()
