"""Synthetic reviews have the real set's shape and say what they are."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trainer.cli.commands import sample_data
from trainer.data.cleaning import CleaningOptions
from trainer.data.delimited import read_delimited
from trainer.data.raw import COLUMNS
from trainer.data.reviews import read_reviews
from trainer.synthetic.reviews import write_synthetic
from twotower.errors import InvalidArgument


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "reviews.csv"
    write_synthetic(path, 6000, 7)
    return path


def test_the_shape_is_the_real_sets(sample: Path) -> None:
    raw = read_delimited(sample)
    columns = raw.columns
    assert (len(raw.row_numbers), raw.fields, raw.malformed) == (6000, len(COLUMNS), {})
    assert Counter(columns["id"]).most_common(1)[0][1] / 6000 == pytest.approx(0.28, abs=0.03)
    users = Counter(columns["reviews.username"])
    assert sum(count == 1 for count in users.values()) / len(users) == pytest.approx(0.9, abs=0.03)
    stars = np.array(columns["reviews.rating"], float)
    assert (stars == 5).mean() == pytest.approx(0.69, abs=0.02)
    assert {len(date) for date in columns["reviews.date"]} == {0, 19, 20, 24}
    for column in ("reviews.title", "reviews.text", "reviews.username", "manufacturer"):
        assert 0 < columns[column].count("") < 200


def test_it_cleans_without_loss(sample: Path) -> None:
    reviews, report = read_reviews(sample, CleaningOptions())
    assert report.rows_kept == len(reviews) == 6000
    assert 0.01 < reviews.anonymous[reviews.user].mean() < 0.05


def test_text_carries_product_and_rating(sample: Path) -> None:
    columns = read_delimited(sample).columns
    nouns = [categories.rsplit(",", 1)[1] for categories in columns["categories"]]
    named = [noun in text for noun, text in zip(nouns, columns["reviews.text"], strict=True) if text]
    assert np.mean(named) == 1.0
    praise = [
        rating
        for rating, text in zip(columns["reviews.rating"], columns["reviews.text"], strict=True)
        if "I love this" in text
    ]
    assert set(praise) == {"5"}


def test_two_reviews_of_one_user_are_more_alike_than_two_of_strangers(sample: Path) -> None:
    reviews, _ = read_reviews(sample, CleaningOptions())
    taste = [product.categories.rsplit(",", 1)[0] for product in reviews.products]
    by_user: dict[int, set[int]] = {}
    for user, product in zip(reviews.user.tolist(), reviews.product.tolist(), strict=True):
        if not reviews.anonymous[user]:
            by_user.setdefault(user, set()).add(product)
    pairs = [sorted(products)[:2] for products in by_user.values() if len(products) > 1]
    same = np.mean([taste[a] == taste[b] for a, b in pairs])
    rng = np.random.default_rng(0)
    strangers = (
        [pairs[a][0] for a in rng.integers(0, len(pairs), 2000)],
        [pairs[b][1] for b in rng.integers(0, len(pairs), 2000)],
    )
    by_chance = np.mean([taste[a] == taste[b] for a, b in zip(*strangers, strict=True) if a != b])
    assert same > 1.5 * by_chance


def test_every_row_says_once_that_it_is_synthetic(sample: Path) -> None:
    raw = sample.read_text(encoding="utf-8").splitlines()
    assert all(line.lower().count("synthetic") == 1 for line in raw[1:])


def test_names_are_short_readable_and_told_apart(sample: Path) -> None:
    columns = read_delimited(sample).columns
    names = dict(zip(columns["id"], columns["name"], strict=True))
    brands = dict(zip(columns["id"], columns["brand"], strict=True))
    assert len(set(names.values())) == len(names) > 100
    for product_id, name in names.items():
        assert len(name) <= 40
        assert name.startswith(f"{brands[product_id]} ")
        assert brands[product_id].isalpha()


def test_the_same_seed_gives_the_same_bytes_packed_or_not(tmp_path: Path) -> None:
    for name, seed in (("a.csv", 1), ("b.csv", 1), ("c.csv.gz", 1), ("d.csv.gz", 1), ("e.csv", 2)):
        write_synthetic(tmp_path / name, 300, seed)
    a, b, c, d, e = ((tmp_path / name).read_bytes() for name in ("a.csv", "b.csv", "c.csv.gz", "d.csv.gz", "e.csv"))
    assert a == b == gzip.decompress(c)
    assert c == d
    assert a != e


def test_the_command_says_so_too(tmp_path: Path) -> None:
    result = CliRunner().invoke(sample_data, [str(tmp_path / "new" / "r.csv.gz"), "--reviews", "100"])
    assert result.exit_code == 0
    assert "100 SYNTHETIC reviews" in result.output


@pytest.mark.parametrize(
    ("name", "rows", "message"), [("r.txt", 100, "must end in .csv"), ("r.csv", 99, "at least 100, got 99")]
)
def test_bad_arguments_leave_no_file(tmp_path: Path, name: str, rows: int, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        write_synthetic(tmp_path / name, rows, 1)
    assert list(tmp_path.iterdir()) == []
