"""The client against both real services, a real Redis and the real encoder: every call that it has, on random
releases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import Product, ProductFilter, ReleaseLabel, Review, TwotowerClient
from clients.errors import InvalidArgument, NotFound, PreconditionFailed
from clients.results import AlsOrigin, PopularitySource, Recommendations, RecordOutcome, UserKind
from tests.support.channels import client_of
from tests.support.importing import activate_without_users
from tests.support.processes import Service, running
from tests.support.releases import product_id, write_random_release
from twotower.release import Release

PRODUCTS = 40
PLENTY_S = 60.0
"""A staleness that no test outlives."""


@dataclass
class Services:
    """Two releases, of which the first is served."""

    client: TwotowerClient
    first: Release
    second: Release
    admin_embedding: str


@pytest.fixture(scope="module")
def services(encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("client")
    releases = folder / "releases"
    first, second = (
        write_random_release(releases, products=PRODUCTS, seed=seed, encoder=encoder_path, lift=True) for seed in (1, 2)
    )
    store = ("--store", "embedded", "--data-dir", folder / "redis")
    embedding = Service("embedding_service", folder / "embedding.log", *store, "--releases", releases)
    ranking = Service(
        "ranking_service",
        folder / "ranking.log",
        "--releases",
        releases,
        "--embedding",
        embedding.address,
        "--embedding-admin",
        embedding.admin_address,
        "--release",
        first.release_id,
    )
    with running(embedding, ranking), client_of(ranking, embedding) as client:
        embedding.wait_until("NOT_SERVING")
        activate_without_users(embedding.admin_address, first)
        ranking.wait_until("SERVING")
        embedding.wait_until("SERVING")
        yield Services(client, first, second, embedding.admin_address)


def ids(answer: Recommendations) -> list[str]:
    return [product.product_id for product in answer.products]


def test_a_user_from_the_first_review_to_the_last(services: Services) -> None:
    client = services.client
    assert client.recommend("Ann", 3).user.kind is UserKind.COLD
    reviews = [Review("Ann", product_id(i), 5, "Good", f"Text {i}") for i in range(3)]
    recorded = client.batch_record_reviews(reviews)
    assert [(r.outcome, r.review_count) for r in recorded] == [(RecordOutcome.RECORDED, n) for n in (1, 2, 3)]
    assert [r.outcome for r in client.batch_record_reviews(reviews)] == [RecordOutcome.DUPLICATE] * 3

    features = client.get_user_features("Ann")
    assert (features.kind, features.als_origin, features.seen_product_ids) == (
        UserKind.WARM,
        AlsOrigin.FOLDED_IN,
        tuple(product_id(i) for i in range(3)),
    )
    together = client.batch_get_user_features(["Bo", "Ann"], space=features.space)
    assert np.array_equal(together[1].bert_mean, features.bert_mean)
    assert together[0].kind is UserKind.COLD
    popularity = client.get_popularity()
    assert set(features.seen_product_ids) <= set(popularity.product_ids)

    answer = client.recommend("Ann", PRODUCTS - 3)
    assert not set(ids(answer)) & set(features.seen_product_ids)
    assert answer.user.review_count == 3
    assert answer.user.feature_age_s is not None
    assert answer.user.staleness_s is None

    assert client.retract_review("Ann", reviews[0].review_id).review_count == 2
    assert client.retract_review("Ann", reviews[0].review_id).retracted is False
    assert client.delete_user("Ann").deleted
    assert client.recommend("Ann", 3).user.kind is UserKind.COLD


def test_pages_are_the_ranking(services: Services) -> None:
    rules = ProductFilter(denied_product_ids=[product_id(5)], categories=["household"])
    options: dict[str, Any] = {"filter": rules, "max_per_brand": 3, "diversity_strength": 0.3}
    whole = ids(services.client.recommend("Bo", PRODUCTS, **options))
    pages = [ids(page) for page in services.client.recommend_pages("Bo", 4, **options)]
    assert [product for page in pages for product in page] == whole
    assert {len(page) for page in pages[:-1]} == {4}
    with pytest.raises(InvalidArgument, match="page_token"):
        token = services.client.recommend("Bo", 4, paginate=True).next_page_token
        services.client.recommend("Bo", 4, page_token=token, max_per_brand=1)


def test_rules_hold_in_batches_too(services: Services) -> None:
    catalogue = {product.product_id: product for product in services.client.products()}
    rules = ProductFilter(brands=["brand 1", "Brand 2"], min_predicted_rating=1)
    (row,) = services.client.batch_recommend(["Bo"], PRODUCTS, filter=rules, max_staleness_s=PLENTY_S).results
    assert row.product_ids
    assert {catalogue[product].brand for product in row.product_ids} <= {"Brand 1", "Brand 2"}
    assert (row.predicted_ratings >= 1).all()
    assert list(row.product_ids) == ids(services.client.recommend("Bo", PRODUCTS, filter=rules))


def test_remembered_features_are_dated(services: Services) -> None:
    first = services.client.predict_ratings("Cy", [product_id(1)], max_staleness_s=PLENTY_S)
    assert first.user.staleness_s is None
    answer = services.client.recommend("Cy", 1, max_staleness_s=PLENTY_S)
    assert answer.user.staleness_s is not None
    assert 0 <= answer.user.staleness_s <= PLENTY_S


def test_explanations_are_of_the_user(services: Services) -> None:
    services.client.record_review("Dee", product_id(4), 5, text="Works")
    warm = services.client.recommend("Dee", 5, explain=True)
    cold = services.client.recommend("Nobody yet", 5, explain=True)
    assert {p.explanation.nearest_reviewed_product_id for p in warm.products if p.explanation} == {product_id(4)}
    for product in cold.products:  # nothing is known, so nothing can be left out
        assert product.explanation
        assert product.explanation.score_without_als == pytest.approx(product.score, abs=1e-5)
        assert product.explanation.score_without_bert == pytest.approx(product.score, abs=1e-5)
        assert product.explanation.nearest_reviewed_product_id == ""
    assert warm.popularity_source in (PopularitySource.LIVE, PopularitySource.RELEASE)


def test_a_new_product_is_there_at_once(services: Services) -> None:
    new = Product("pocket-radio", "Pocket radio", brand="Radiola", categories="Electronics,Radios")
    assert services.client.upsert_products([new]).inserted_count == 1
    assert ids(services.client.recommend("Bo", 1, filter=ProductFilter(brands=["radiola"]))) == ["pocket-radio"]
    neighbours = services.client.similar_products("pocket-radio", 5).products
    assert [n.similarity for n in neighbours] == sorted((n.similarity for n in neighbours), reverse=True)
    assert "pocket-radio" not in {n.product.product_id for n in neighbours}
    with pytest.raises(InvalidArgument, match=r"products\[0\].name"):
        services.client.upsert_products([Product("nameless", "")])


def test_texts_are_unit_vectors(services: Services) -> None:
    embedded = services.client.encode_texts(["Great sound", "word " * 1000])
    assert np.linalg.norm(embedded.vectors, axis=1) == pytest.approx(1, abs=1e-3)
    assert embedded.truncated == (False, True)


def test_releases_change_hands(services: Services) -> None:
    client, first, second = services.client, services.first.release_id, services.second.release_id
    assert {info.release_id: info.label for info in client.list_releases()} == {
        first: ReleaseLabel.STABLE,
        second: ReleaseLabel.UNSPECIFIED,
    }
    with pytest.raises(PreconditionFailed, match="stable"):
        client.set_label(first, ReleaseLabel.UNSPECIFIED)
    with pytest.raises(InvalidArgument, match="canary_share"):
        client.set_label(second, ReleaseLabel.CANARY, canary_share=1.5)
    with pytest.raises(NotFound):
        client.load_release("nothing")
    activate_without_users(services.admin_embedding, services.second)

    assert client.set_label(second, ReleaseLabel.CANARY, canary_share=0.5).canary_share == 0.5
    answer = client.batch_recommend([f"user {i}" for i in range(64)], 2)
    assert answer.release_id == first
    assert {row.release_id for row in answer.results} == {first, second}
    assert client.set_label(second, ReleaseLabel.SHADOW).label is ReleaseLabel.SHADOW
    assert client.load_release(second).label is ReleaseLabel.STABLE
    assert client.recommend("Bo", 1).release_id == second
    assert client.rollback().release_id == first
    assert client.recommend("Bo", 1).release_id == first
