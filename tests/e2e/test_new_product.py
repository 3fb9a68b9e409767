"""A new product whose text fits a user with a history is recommended to that user at once, without a review."""

import time
from pathlib import Path

import numpy as np
import pytest

from clients import Product, TwotowerClient
from clients.results import PopularitySource
from tests.support.processes import Service, running
from tests.support.trained import tiny_reviews, train_tiny_result
from trainer.release.publish import publish
from twotower.release import Release

USERS = 12


def fitting_users(release: Release) -> dict[str, int]:
    """Users with a history, and the product that each reviewed last; spread over all users, one for each product."""
    users = release.users
    last = users.products[np.asarray(users.review_offsets[1:]) - 1]
    known = np.abs(release.item_factors.factors).sum(axis=1) > 0
    chosen = {int(product): user for user, product in enumerate(last.tolist()) if known[product]}
    every = max(1, len(chosen) // USERS)
    ids = list(users.user_ids())
    return {ids[user]: product for product, user in sorted(chosen.items())[::every][:USERS]}


@pytest.mark.timeout(600)
def test_a_new_edition_of_what_a_user_reviewed_last_is_in_the_users_first_ten(
    encoder_path: Path, tmp_path: Path
) -> None:
    reviews = tiny_reviews(tmp_path / "reviews.csv.gz", reviews=3000)
    releases = tmp_path / "releases"
    # So few steps teach the network hardly anything: what the product is like must do.
    release = train_tiny_result(
        releases, tmp_path / "cache", encoder_path, preset="best", reviews=reviews, steps=10
    ).release
    embedding = Service(
        "embedding_service", tmp_path / "embedding.log", "--store", "embedded", "--data-dir", tmp_path / "redis",
        "--releases", releases,
    )  # fmt: skip
    ranking = Service(
        "ranking_service", tmp_path / "ranking.log", "--releases", releases, "--embedding", embedding.address,
        "--embedding-admin", embedding.admin_address,
    )  # fmt: skip
    with running(embedding, ranking), TwotowerClient(ranking.address, embedding.address) as client:
        embedding.wait_until("NOT_SERVING")
        publish(release, embedding.admin_address, ranking.admin_address)
        ranking.wait_until("SERVING")
        deadline = time.monotonic() + 30
        while client.recommend("nobody", 1).popularity_source is not PopularitySource.LIVE:
            assert time.monotonic() < deadline, "no live popularity"
            time.sleep(0.1)
        places, cold_places = list[int](), list[int]()
        for user_id, row in fitting_users(release).items():
            old = release.catalogue[row]
            new = Product("new", f"{old.name}, 2nd edition", old.brand, old.categories, old.manufacturer)
            client.upsert_products([new])
            nobody = client.recommend("nobody", len(release.catalogue) + 1)
            cold_places.append(1 + [product.product_id for product in nobody.products].index("new"))
            answer = client.recommend(user_id, len(release.catalogue) + 1)
            assert answer.popularity_source is PopularitySource.LIVE
            places.append(1 + [product.product_id for product in answer.products].index("new"))
            client.remove_added_products(["new"])
    assert len(places) == USERS
    assert sum(place <= 10 for place in places) >= USERS - 1, places
    # It is there for what the user reviewed, and stands lower for everybody else.
    assert all(place < cold for place, cold in zip(places, cold_places, strict=True)), (places, cold_places)
