"""Both clients against a real gRPC server: every call and its options."""

import asyncio
from typing import Any

import pytest

from clients import AsyncTwotowerClient, EmbeddingSpace, Product, ProductFilter, ReleaseLabel, Review, TwotowerClient
from clients.errors import InvalidArgument, NotFound
from clients.results import (
    Explanation,
    PopularitySource,
    Recommendations,
    RecordOutcome,
    ShadowComparison,
    UserKind,
)
from tests.integration.clients.conftest import Connect
from tests.support.memory_api import OTHER_RELEASE_ID, RELEASE_ID, MemoryServer


def ids(answer: Recommendations) -> list[str]:
    return [product.product_id for product in answer.products]


async def test_recommend(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.recommend("user", 3)
    assert [p.product_id for p in answer.products] == ["p0", "p1", "p2"]
    assert (answer.release_id, answer.user.kind, answer.timing.compute_ms) == (RELEASE_ID, UserKind.COLD, 0.25)
    assert (answer.popularity_source, answer.next_page_token, answer.products[0].explanation) == (
        PopularitySource.LIVE,
        "",
        None,
    )


async def test_a_recorded_review_is_seen_by_the_next_answer(connect: Connect) -> None:
    async with connect() as client:
        recorded = await client.record_review("user", "p0", 5, title="Good", text="Very")
        answer = await client.recommend("user", 2)
        with_seen = await client.recommend("user", 2, include_seen=True)
    assert (recorded.outcome, recorded.review_count, recorded.product_known) == (RecordOutcome.RECORDED, 1, True)
    assert (answer.user.kind, answer.user.review_count, answer.user.feature_age_s) == (UserKind.WARM, 1, 90.0)
    assert [p.product_id for p in answer.products] == ["p1", "p2"]
    assert [p.product_id for p in with_seen.products] == ["p0", "p1"]


async def test_batch_recommend(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.batch_recommend(["user", "Anonymous"], 2)
    assert [row.user.kind for row in answer.results] == [UserKind.COLD, UserKind.ANONYMOUS]
    assert [row.product_ids for row in answer.results] == [("p0", "p1")] * 2
    assert answer.results[0].scores.tolist() == [10.0, 9.0]


async def test_predictions_come_in_the_order_asked(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.predict_ratings("user", ["p4", "p1"])
    assert [(p.product_id, p.score) for p in answer.products] == [("p4", 6.0), ("p1", 9.0)]


async def test_catalogue(connect: Connect) -> None:
    async with connect() as client:
        details = await client.get_product("p3")
        page = await client.list_products(4, "4")
    assert (details.product.name, details.release_id) == ("Product 3", RELEASE_ID)
    assert ([p.product_id for p in page.products], page.next_page_token, page.total_count) == (
        ["p4", "p5", "p6", "p7"],
        "8",
        10,
    )


async def test_features_and_texts(connect: Connect) -> None:
    async with connect() as client:
        features = await client.get_user_features("user")
        texts = await client.encode_texts(["one two", "three"])
    assert features.als.tolist() == list(range(64))
    assert (texts.vectors.shape, texts.token_counts, texts.encoder_id) == ((2, 384), (2, 1), "e1")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (ProductFilter(allowed_product_ids=["p4", "p1", "unheard"]), ["p1", "p4"]),
        (ProductFilter(denied_product_ids=["p0", "p2"]), ["p1", "p3", "p4"]),
        (ProductFilter(brands=["BOLT"]), ["p2", "p3"]),
        (ProductFilter(categories=["audio"]), ["p0", "p1", "p2"]),
        (ProductFilter(min_predicted_rating=4), ["p0", "p1", "p2"]),
        (ProductFilter(brands=("bolt", "Acme"), categories=["Video"], denied_product_ids=["p3"]), ["p4"]),
    ],
)
async def test_filters(connect: Connect, server: MemoryServer, rules: ProductFilter, expected: list[str]) -> None:
    del server.memory.products[5:]
    for index, (brand, categories) in {2: ("Bolt", "Audio, Parts"), 3: ("Bolt", "Video"), 4: ("Acme", "Video")}.items():
        server.memory.products[index].brand = brand
        server.memory.products[index].categories = categories
    async with connect() as client:
        assert ids(await client.recommend("user", 5, filter=rules)) == expected
        batch = await client.batch_recommend(["user", "other"], 5, filter=rules)
    assert [list(row.product_ids) for row in batch.results] == [expected] * 2


async def test_options_reach_the_server(connect: Connect, server: MemoryServer) -> None:
    options: dict[str, Any] = {
        "include_seen": True,
        "max_per_brand": 2,
        "diversity_strength": 0.5,
        "max_staleness_s": 1.5,
    }
    async with connect() as client:
        single = await client.recommend("user", 5, explain=True, **options)
        batch = await client.batch_recommend(["user"], 5, **options)
        predicted = await client.predict_ratings("user", ["p1"], max_staleness_s=1.5)
    for method in ("Recommend", "BatchRecommend"):
        request = server.memory.requests[method]
        assert (request.include_seen, request.max_per_brand, request.diversity_strength) == (True, 2, 0.5)
    assert ids(single) == list(batch.results[0].product_ids) == ["p0", "p1"]
    assert [answer.user.staleness_s for answer in (single, batch.results[0], predicted)] == [1.5] * 3


async def test_an_option_of_another_name_is_refused(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(TypeError, match="brand"):
            await client.recommend("user", 5, brand="Acme")  # type: ignore[call-arg]


async def test_explanations(connect: Connect) -> None:
    async with connect() as client:
        await client.record_review("user", "p9", 5)
        answer = await client.recommend("user", 1, explain=True)
    assert answer.products[0].explanation == Explanation(9.5, 10.25, 10.0, "p9", 0.125)


async def test_pages_are_one_ranking(server: MemoryServer) -> None:
    options: dict[str, Any] = {
        "filter": ProductFilter(denied_product_ids=["p3"]),
        "explain": True,
        "include_seen": True,
    }
    expected = [["p0", "p1", "p2", "p4"], ["p5", "p6", "p7", "p8"], ["p9"]]
    async with AsyncTwotowerClient(**server.addresses) as client:
        assert [ids(page) async for page in client.recommend_pages("user", 4, **options)] == expected
    with TwotowerClient(**server.addresses) as client:
        assert (
            await asyncio.to_thread(lambda: [ids(page) for page in client.recommend_pages("user", 4, **options)])
            == expected
        )
    assert server.memory.attempts["Recommend"] == 6


async def test_pages_are_fetched_as_they_are_read(server: MemoryServer) -> None:
    async with AsyncTwotowerClient(**server.addresses) as client:
        pages = client.recommend_pages("user", 4)
        assert ids(await anext(pages)) == ["p0", "p1", "p2", "p3"]
        await pages.aclose()  # type: ignore[attr-defined]
    assert server.memory.attempts["Recommend"] == 1


async def test_a_page_can_be_asked_for_later(connect: Connect) -> None:
    async with connect() as client:
        first = await client.recommend("user", 8, paginate=True)
        rest = await client.recommend("user", 8, page_token=first.next_page_token)
        assert (ids(rest), rest.next_page_token) == (["p8", "p9"], "")
        with pytest.raises(InvalidArgument, match="page_token: must be of a request with the same fields"):
            await client.recommend("user", 8, page_token=first.next_page_token, include_seen=True)


async def test_the_canary_names_itself(connect: Connect, server: MemoryServer) -> None:
    server.memory.canary_users.add("lucky")
    async with connect() as client:
        answer = await client.batch_recommend(["user", "lucky"], 1)
    assert [row.release_id for row in answer.results] == [RELEASE_ID, OTHER_RELEASE_ID]
    assert (answer.release_id, answer.popularity_source) == (RELEASE_ID, PopularitySource.LIVE)


async def test_similar_products(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.similar_products("p3", 2)
        with pytest.raises(NotFound, match="nope"):
            await client.similar_products("nope")
    assert [(row.product.product_id, row.similarity) for row in answer.products] == [("p4", 0.5), ("p5", 0.25)]


async def test_added_products(connect: Connect, server: MemoryServer) -> None:
    async with connect() as client:
        answer = await client.upsert_products([Product("new", "Brand-new", "Bolt"), Product("p1", "Renamed")])
        details = await client.get_product("new")
    assert (answer.release_id, answer.inserted_count, answer.updated_count) == (RELEASE_ID, 1, 1)
    assert details.product == Product("new", "Brand-new", "Bolt")
    assert server.memory.products[1].name == "Renamed"


async def test_reviews_in_a_batch_and_back(connect: Connect) -> None:
    reviews = [Review("user", "p1", 5), Review("user", "p2", 4), Review("other", "p1", 3)]
    async with connect() as client:
        recorded = await client.batch_record_reviews(reviews)
        again = await client.batch_record_reviews(reviews[:1])
        popularity = await client.get_popularity()
        retracted = await client.retract_review("user", reviews[0].review_id)
        twice = await client.retract_review("user", reviews[0].review_id)
        deleted = await client.delete_user("user")
        unknown = await client.delete_user("user")
    assert [(r.review_id, r.review_count) for r in recorded] == [
        (r.review_id, n) for r, n in zip(reviews, (1, 2, 1), strict=True)
    ]
    assert again[0].outcome is RecordOutcome.DUPLICATE
    assert dict(zip(popularity.product_ids, popularity.weights.tolist(), strict=True)) == {"p1": 2, "p2": 1}
    assert popularity.half_life_s == 7 * 86400
    assert [(r.retracted, r.review_count) for r in (retracted, twice)] == [(True, 1), (False, 1)]
    assert (deleted.deleted, unknown.deleted) == (True, False)


async def test_features_of_many_users_in_a_named_space(connect: Connect) -> None:
    space = EmbeddingSpace("e9", "a9")
    async with connect() as client:
        await client.record_review("user", "p1", 5)
        features = await client.batch_get_user_features(["other", "user"], space=space)
        single = await client.get_user_features("user", space=space)
    assert [(f.user_id, f.seen_product_ids, f.age_s) for f in features] == [
        ("other", (), None),
        ("user", ("p1",), 90.0),
    ]
    assert [f.space for f in (*features, single)] == [space] * 3


async def test_releases(connect: Connect) -> None:
    async with connect() as client:
        loaded = await client.load_release(OTHER_RELEASE_ID)
        assert {info.release_id: info.label for info in await client.list_releases()} == {
            OTHER_RELEASE_ID: ReleaseLabel.STABLE,
            RELEASE_ID: ReleaseLabel.UNSPECIFIED,
        }
        back = await client.rollback()
        again = await client.rollback()
    assert (loaded.label, loaded.product_count, loaded.canary_share) == (ReleaseLabel.STABLE, 10, 0)
    assert (back.release_id, back.label) == (RELEASE_ID, ReleaseLabel.STABLE)
    assert again == loaded


async def test_labels(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(NotFound, match="no release was stable before"):
            await client.rollback()
        canary = await client.set_label(OTHER_RELEASE_ID, ReleaseLabel.CANARY, canary_share=0.25)
        shadow = await client.set_label(OTHER_RELEASE_ID, ReleaseLabel.SHADOW)
        none = await client.set_label(OTHER_RELEASE_ID, ReleaseLabel.UNSPECIFIED)
        with pytest.raises(InvalidArgument, match="canary_share: must be above 0"):
            await client.set_label(OTHER_RELEASE_ID, ReleaseLabel.CANARY)
    assert (canary.label, canary.canary_share, canary.shadow_comparison) == (ReleaseLabel.CANARY, 0.25, None)
    assert (shadow.label, shadow.shadow_comparison) == (ReleaseLabel.SHADOW, ShadowComparison(200, 0.75, 0.5))
    assert none.label is ReleaseLabel.UNSPECIFIED


async def test_the_whole_catalogue_is_fetched_page_by_page(server: MemoryServer) -> None:
    expected = [f"p{i}" for i in range(10)]
    async with AsyncTwotowerClient(**server.addresses) as client:
        assert [p.product_id async for p in client.products(page_size=4)] == expected
    with TwotowerClient(**server.addresses) as client:
        assert await asyncio.to_thread(lambda: [p.product_id for p in client.products(page_size=4)]) == expected
    assert server.memory.attempts["ListProducts"] == 6
