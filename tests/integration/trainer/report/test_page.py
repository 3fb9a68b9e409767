"""The report of a release: its page and its model card."""

from pathlib import Path
from typing import Any

from trainer.pipeline import TrainingResult
from trainer.report.limits import findings
from trainer.report.page import model_card, write_report
from trainer.report.render import render

EVALUATION: dict[str, Any] = {
    "protocol": {"rows": {"all": 40, "warm": 10, "cold": 30}},
    "methods": {
        name: {
            **{group: {"ndcg@10": value} for group in ("all", "warm", "cold")},
            "folds": [{"ndcg@10": value, "low": value - 0.1, "high": value + 0.1}] * 2,
        }
        for name, value in (("popularity, live", 0.4), ("v5_power", 0.2))
    },
}


def test_the_page_is_self_contained_and_the_same_twice(trained: TrainingResult, tmp_path: Path) -> None:
    page = write_report(tmp_path / "a", trained, EVALUATION).read_text()
    assert write_report(tmp_path / "b", trained, EVALUATION).read_text() == page
    for title in (
        "Data",
        "Network",
        "Training",
        "Ranking quality",
        "Popularity",
        "Ratings",
        "Example recommendations",
        "What it cannot do",
    ):
        assert f"<h2>{title}" in page
    assert page.count("<svg") == 6
    assert "src=" not in page
    assert trained.release.catalogue[0].name in page or any(
        product.name in page for product in trained.release.catalogue
    )
    assert list((tmp_path / "a" / "tensorboard").glob("events*"))


def test_what_a_file_says_is_text_and_no_markup(trained: TrainingResult) -> None:
    evil = "<script>alert(1)</script> & co"
    figures = {"all": {"ndcg@10": 0.9}, "warm": {"ndcg@10": 0.9}, "cold": {"ndcg@10": None}}
    evaluation = {
        "protocol": EVALUATION["protocol"],
        "methods": {"v5_power": EVALUATION["methods"]["v5_power"], evil: {**figures, "folds": []}},
    }
    said = findings(evaluation, "v5_power")
    assert evil in said[0]
    page = render(
        "search.html", title=evil, trials="", group="", rows=said[0], header=[evil], lines=[[evil]], pictures={}
    )
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; co") == 5
    assert "<script" not in page
    assert f"| {evil} | 0.900 | 0.900 | – |" in model_card(trained.release, evaluation)


def test_the_card_says_what_ranks_better_by_the_figures(trained: TrainingResult) -> None:
    card = model_card(trained.release, EVALUATION)
    assert "For users with a history, v5_power (nDCG@10 0.200) is below popularity, live 0.400." in card
    better = {**EVALUATION, "methods": {**EVALUATION["methods"], "popularity, live": EVALUATION["methods"]["v5_power"]}}
    assert "is below" not in model_card(trained.release, better)


def test_the_card_of_v5_power_says_why_it_ranks_near_random(trained: TrainingResult) -> None:
    card = model_card(trained.release, EVALUATION)
    assert "ranks below a plain list of popular products" in card
    assert "(n·r + 3n·1) / 4n" in card
    assert "| v5_power | 0.200 | 0.200 | 0.200 |" in card
    assert "Not measured" in model_card(trained.release, None)
