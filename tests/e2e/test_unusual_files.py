"""Files of unusual ratings and categories, by the command line, from the file to what a ranking service answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clients import ProductFilter, TwotowerClient
from tests.support.processes import Service, running
from twotower.cli import main
from twotower.release import Release

PRODUCTS, USERS = 12, 40
ODD = "Clothing, Shoes & Jewelry"
CATEGORIES = (["Home", ODD], ["Home"], [ODD, "Socks"], ["Clothing"])


def averages(product: int) -> float:
    """The rating of a product, of whoever rates it."""
    return (2.5, 3.0, 3.5, 4.0, 4.5, 5.0)[product % 6]


def write_reviews(path: Path, rating: Callable[[int], float]) -> Path:
    """Each user reviews five products, with categories as Amazon's metadata has them."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"reader {user}",
            "asin": f"P{product}",
            "rating": rating(product),
            "text": f"This {('kettle', 'radio', 'lamp')[product % 3]} is number {product} of {user}.",
            "timestamp": 1_483_426_800 + 86_400 * (5 * user + number),
            "title": f"Thing {product}",
            "categories": CATEGORIES[product % len(CATEGORIES)],
        }
        for user in range(USERS)
        for number, product in enumerate(rng.permutation(PRODUCTS)[:5].tolist())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trained(folder: Path, encoder: Path, rating: Callable[[int], float], preset: str) -> Release:
    """The release that the command line trains on such a file, in an epoch or in a few steps."""
    options = {"steps": 20} if preset == "best" else {}
    (folder / "options.json").write_text(json.dumps({"preset": preset, "options": options}))
    more = ["--preset", preset, "--epochs", "1", "--options", folder / "options.json"]
    reviews = write_reviews(folder / "reviews.jsonl", rating)
    files = ["--reviews", reviews, "--out", folder / "releases", "--cache", folder / "cache", "--encoder", encoder]
    done = CliRunner().invoke(main, ["train", *map(str, [*files, *more])])
    assert done.exit_code == 0, done.output
    (path,) = (file.parent for file in (folder / "releases").glob("*/manifest.json"))
    return Release.open(path)


@pytest.mark.parametrize("preset", ["v5_power", "best"])
@pytest.mark.parametrize("rating", [lambda _: 4.0, averages], ids=["all equal", "product averages"])
def test_ratings_that_tell_no_users_apart_are_trained_on(
    encoder_path: Path, tmp_path: Path, preset: str, rating: Callable[[int], float]
) -> None:
    release = trained(tmp_path, encoder_path, rating, preset)
    assert len(release.catalogue) == PRODUCTS
    means = {product.product_id: product.mean_rating for product in release.catalogue if product.review_count}
    assert means == {name: pytest.approx(rating(int(name[1:]))) for name in means}
    assert len(means) > PRODUCTS // 2
    golden = release.golden
    for values in (golden.scores, golden.predicted_ratings):
        assert np.isfinite(values).all()
    assert golden.predicted_ratings.min() >= 0
    assert golden.predicted_ratings.max() <= 5


@pytest.fixture
def client(encoder_path: Path, tmp_path: Path) -> Iterator[TwotowerClient]:
    """A client of a ranking service without an embedding service: everybody is a cold user."""
    release = trained(tmp_path, encoder_path, averages, "v5_power")
    ranking = Service(
        "ranking_service", tmp_path / "ranking.log", "--releases", release.path.parent, "--release",
        release.release_id, "--embedding", "127.0.0.1:1", "--embedding-admin", "127.0.0.1:1",
    )  # fmt: skip
    with running(ranking), TwotowerClient(ranking.address) as client:
        ranking.wait_until("SERVING")
        yield client


def test_a_category_with_commas_in_its_name_is_one_category(client: TwotowerClient) -> None:
    def filtered(*categories: str) -> set[str]:
        answer = client.recommend("ann", PRODUCTS, filter=ProductFilter(categories=categories))
        return {product.product_id for product in answer.products}

    def having(*categories: str) -> set[str]:
        return {f"P{row}" for row in range(PRODUCTS) if set(categories) & set(CATEGORIES[row % len(CATEGORIES)])}

    assert filtered(ODD) == having(ODD)
    assert filtered(ODD.lower()) == having(ODD)
    assert filtered("Clothing") == having("Clothing")
    assert filtered("Shoes & Jewelry") == set()
    assert filtered("Socks", "Clothing") == having("Socks", "Clothing")
    assert {*having(ODD)} != {*having("Home")} != set()
