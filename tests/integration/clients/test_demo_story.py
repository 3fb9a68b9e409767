"""The tables of the demo, against a server, and whom it asks for."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from clients.demo.story import K, side_by_side, tell
from clients.demo.users import NEWCOMER, DemoUsers, choose_users
from clients.recommender import TwotowerClient
from clients.results import Recommendation
from tests.support.memory_api import RELEASE_ID, MemoryServer
from tests.support.releases import write_random_release
from twotower.errors import ReleaseInvalid
from twotower.release import Product, Release
from twotower.release_users import USER_ARRAYS, users_root
from twotower.users_writer import UsersWriter


def product(product_id: str, score: float = 1.0) -> Recommendation:
    return Recommendation(product_id, f"Name of {product_id}", "", score, 4.0)


def rendered(table: object) -> list[str]:
    console = Console(width=120, markup=False, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text().splitlines()


def test_side_by_side_says_how_far_each_product_moved() -> None:
    before = tuple(product(name) for name in ("a", "b", "c"))
    after = tuple(product(name) for name in ("c", "b", "x"))
    header, *rows = rendered(side_by_side(before, after))
    assert "Before" in header
    assert [row.split()[-2:] for row in rows] == [["▲", "2"], ["1.0000", "="], ["1.0000", "new"]]
    assert ["Name of a" in rows[0], "Name of c" in rows[0]] == [True, True]


def test_side_by_side_of_a_shorter_answer() -> None:
    rows = rendered(side_by_side((product("a"), product("b")), (product("b"),)))
    assert len(rows) == 3
    assert "Name of b" in rows[2]


def test_the_story_shows_every_kind_of_user_and_the_changed_answer(server: MemoryServer) -> None:
    chosen = Product("p0", "Product 0", "Acme", "", "", 9, 4.5)
    with TwotowerClient(**server.addresses) as client:
        client.record_review("Ann", "p1", 4)
        console = Console(width=120, markup=False, record=True, file=io.StringIO())
        tell(client, DemoUsers("Ann", "new", "Anonymous", chosen, 10), console)
    text = console.export_text()
    for words in (
        "Ann: warm user, 1 review",
        "new: cold user",
        "Anonymous: anonymous user",
        "new: warm user, 1 review",
        "Before",
    ):
        assert words in text
    assert text.count(f"release {RELEASE_ID} · first answer in") == 4
    assert "new reviews 'Product 0': 5 stars" in text
    review = next(iter(server.memory.reviews["new"].values()))
    assert (review.product_id, review.rating) == ("p0", 5.0)
    after = text.rpartition("Before")[2].splitlines()[1 : K + 1]
    assert "Product 1" in after[0].rpartition("Product 0")[2], "the reviewed product has left the answer"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return write_random_release(tmp_path, products=5)


def with_users(release: Release, counts: dict[str, int]) -> Release:
    rows = sum(counts.values())
    columns = {
        name: [np.zeros((len(counts) if name == "als" else rows, *shape), dtype)]
        for name, (dtype, shape) in USER_ARRAYS.items()
    } | {"review_offsets": [np.cumsum([0, *counts.values()])]}
    with UsersWriter(users_root(release.path.parent)) as writer:
        writer.write(counts, map(str, range(rows)), columns)
        writer.commit(release.release_id)
    return Release(release.path, replace(release.manifest, has_users=True))


def test_the_warm_user_has_most_reviews_under_a_name_of_its_own(release: Release) -> None:
    users = choose_users(with_users(release, {"Ann": 2, " anonymous ": 50, "Akshat": 9, "Bo": 7, "Cy": 7}))
    assert users.warm == "Bo"
    assert users.product.review_count == max(item.review_count for item in release.catalogue)


def test_the_newcomer_is_new(release: Release) -> None:
    assert choose_users(with_users(release, {"Ann": 2})).cold == NEWCOMER
    users = choose_users(with_users(release, {NEWCOMER: 3, f"{NEWCOMER}-0": 1}))
    assert users.cold not in {NEWCOMER, f"{NEWCOMER}-0"}


def test_a_release_without_users_is_refused(release: Release) -> None:
    with pytest.raises(ReleaseInvalid, match="a user with reviews"):
        choose_users(with_users(release, {"Anonymous": 5}))
