"""Added products: scored as the network would have, kept, superseded."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ranking_service.release.registry import FolderRegistry
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.rollout.added_products import FILE, AddedProducts
from ranking_service.rollout.relatives import Introduction, inherited_factors
from tests.support.releases import (
    PRIOR_MEAN,
    ReferenceScorer,
    product_id,
    random_user_rows,
    unit_vectors,
    write_random_release,
)
from twotower.errors import EmbeddingUnavailable, SpaceMismatch
from twotower.features import ALS_DIM, dequantize, product_rows, product_text, quantize, user_rows
from twotower.model import full_forward
from twotower.release import Product
from twotower.scoring import LiftScoring
from twotower.v1 import embedding_service_pb2
from twotower.wire import to_vector

PRODUCTS = 12


class Texts:
    """Encodes each text into a vector of its own."""

    def __init__(self, encoder_id: str) -> None:
        self.encoder_id = encoder_id
        self.away = False

    async def encode(self, texts: Sequence[str]) -> embedding_service_pb2.EncodeTextsResponse:
        if self.away:
            raise EmbeddingUnavailable("away")
        embeddings = [embedding_service_pb2.TextEmbedding(embedding=to_vector(vector_of(text))) for text in texts]
        return embedding_service_pb2.EncodeTextsResponse(embeddings=embeddings, encoder_id=self.encoder_id)


def vector_of(text: str) -> np.ndarray:
    return dequantize(quantize(unit_vectors(np.random.default_rng(sum(text.encode())), 1)))[0]


def product(name: str, number: int | str) -> Product:
    return Product(number if isinstance(number, str) else product_id(number), name, "Acme", "Audio", "Maker", 0, 0.0)


@pytest.fixture
def lift(tmp_path: Path) -> ServedRelease:
    return open_served(write_random_release(tmp_path, products=PRODUCTS, lift=True).path, ReferenceScorer)


def text(name: str) -> str:
    return product_text(name, "Acme", "Audio", "Maker")


async def test_an_added_product_is_scored_by_the_whole_network(lift: ServedRelease, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), Texts(lift.space.encoder_id).encode, executor)
        await added.add([product("Radio", "new 1"), product("Changed", 3), product("Lamp", "new 2")], lift)
        served = added.fit(lift)
    assert served.catalogue.product_ids == [*map(product_id, range(PRODUCTS)), "new 1", "new 2"]
    assert served.catalogue.products[3].name == "Changed"
    assert served.catalogue.products[3].review_count == lift.catalogue.products[3].review_count
    rows = random_user_rows(np.random.default_rng(1), 4)
    known, scores = lift.scorer(rows), served.scorer(rows)
    untouched = [row for row in range(PRODUCTS) if row != 3]
    np.testing.assert_array_equal(scores[:, untouched], known[:, untouched])
    assert isinstance(served.scoring, LiftScoring)
    assert lift.product_texts is not None
    als = np.zeros((1, ALS_DIM), np.float32)
    for column, name in ((12, "Radio"), (13, "Lamp"), (3, "Changed")):
        bert = vector_of(text(name))[np.newaxis]
        changed = column == 3
        factors = lift.item_factors[3:4] if changed else inherited_factors(lift.product_texts, lift.item_factors, bert)
        introduced = np.zeros((4, 1)) if changed else Introduction.of(served.scoring, factors)(rows)
        expected = full_forward(lift.weights, rows, np.repeat(product_rows(factors, bert), 4, axis=0))
        np.testing.assert_allclose(scores[:, column], expected + introduced[:, 0], atol=1e-4)
    cold = user_rows(als, lift.global_mean[np.newaxis], False)
    np.testing.assert_allclose(served.scoring.cold_scores, served.scorer(cold)[0], atol=1e-4)
    assert served.scoring.rating_base[12] == pytest.approx(PRIOR_MEAN, abs=1e-3)
    assert served.scoring.log_popularity[12] == pytest.approx(np.log(1e-4), rel=1e-6)
    assert served.scoring.scores(scores).shape == served.scoring.ratings(scores).shape == (4, 14)
    assert {"new 1"} <= {served.catalogue.product_ids[row] for row in served.catalogue.similar(0, 13)[0]}


async def test_an_added_product_has_the_popularity_of_new_ones_until_it_is_counted(
    lift: ServedRelease, tmp_path: Path
) -> None:
    assert isinstance(lift.scoring, LiftScoring)
    before = replace(lift.scoring, new_product_share=0.02, least_reviews=50.0)
    lift = replace(lift, scoring=before)
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), Texts(lift.space.encoder_id).encode, executor)
        await added.add([product("Radio", "new 1")], lift)
        scoring = added.fit(lift).scoring
    assert isinstance(scoring, LiftScoring)
    assert scoring.log_popularity[PRODUCTS] == pytest.approx(np.log(0.0201), rel=1e-5)
    np.testing.assert_array_equal(scoring.log_popularity[:PRODUCTS], before.log_popularity)
    counts = np.zeros(PRODUCTS + 1)
    for reviews in (0.0, 40.0, 100.0):
        counts[PRODUCTS] = reviews
        share = reviews / max(50.0, reviews)
        assert scoring.live_log_popularity(counts)[PRODUCTS] == pytest.approx(np.log(share + 0.0201), rel=1e-5)
    np.testing.assert_allclose(
        scoring.live_log_popularity(np.zeros(PRODUCTS + 1))[:PRODUCTS], before.log_popularity, atol=1e-5
    )


async def test_a_release_without_product_texts_knows_no_relatives(lift: ServedRelease, tmp_path: Path) -> None:
    lift = replace(lift, product_texts=None)
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), Texts(lift.space.encoder_id).encode, executor)
        await added.add([product("Radio", "new 1")], lift)
        served = added.fit(lift)
    rows = random_user_rows(np.random.default_rng(1), 4)
    row = product_rows(np.zeros((1, ALS_DIM), np.float32), vector_of(text("Radio"))[np.newaxis])
    expected = full_forward(lift.weights, rows, np.repeat(row, 4, axis=0))
    np.testing.assert_allclose(served.scorer(rows)[:, PRODUCTS], expected, atol=1e-4)


async def test_a_product_is_compared_with_the_catalogue_once(lift: ServedRelease, tmp_path: Path) -> None:
    """Its vector is that of before while its text is; the others' are as if all had been added at once."""
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), Texts(lift.space.encoder_id).encode, executor)
        await added.add([product("Radio", "new 1"), product("Lamp", "new 2")], lift)
        first = added.fit(lift)
        await added.add([product("Better radio", "new 1"), product("Chair", "new 3")], first)
        second, at_once = added.fit(first), added.fit(lift)
        await added.remove(["new 2"])
        third = added.fit(second)
    assert [len(served.inherited) for served in (lift, first, second, at_once, third)] == [0, 2, 3, 3, 2]
    (lamp,) = first.inherited.keys() & second.inherited.keys()
    assert second.inherited[lamp] is first.inherited[lamp]
    assert not third.inherited.keys() & first.inherited.keys()
    rows = random_user_rows(np.random.default_rng(1), 4)
    np.testing.assert_allclose(second.scorer(rows), at_once.scorer(rows), atol=1e-5)


async def test_they_survive_and_keep_their_rows(lift: ServedRelease, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), Texts(lift.space.encoder_id).encode, executor)
        await added.add([product("Radio", "new 1"), product("Lamp", "new 2")], lift)
        await added.add([product("Better radio", "new 1"), product("Chair", "new 3")], added.fit(lift))
        again = AddedProducts(FolderRegistry(tmp_path), Texts("other").encode, executor).fit(lift)
        assert again.catalogue.product_ids[PRODUCTS:] == ["new 1", "new 2", "new 3"]
        assert again.catalogue.products[PRODUCTS].name == "Better radio"
        assert (
            added.fit(again).catalogue.product_ids == again.catalogue.product_ids
        )  # fits the release, not its extension
        assert await added.changed()
        assert not await added.changed()


async def test_a_later_release_supersedes(lift: ServedRelease, tmp_path: Path) -> None:
    later = open_served(write_random_release(tmp_path, products=PRODUCTS + 1, seed=5, lift=True).path, ReferenceScorer)
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), Texts(lift.space.encoder_id).encode, executor)
        await added.add([product("Mine", PRODUCTS), product("Changed", 3), product("Lamp", "new")], lift)
        served = added.fit(later)
    assert served.catalogue.product_ids == [*map(product_id, range(PRODUCTS + 1)), "new"]
    assert served.catalogue.products[PRODUCTS] == later.catalogue.products[PRODUCTS]
    assert served.catalogue.products[3] == later.catalogue.products[3]


async def test_what_can_not_be_encoded_is_not_added(lift: ServedRelease, tmp_path: Path) -> None:
    texts = Texts("another encoder")
    with ThreadPoolExecutor(1) as executor:
        added = AddedProducts(FolderRegistry(tmp_path), texts.encode, executor)
        with pytest.raises(SpaceMismatch, match="another encoder"):
            await added.add([product("Lamp", "new")], lift)
        texts.away = True
        with pytest.raises(EmbeddingUnavailable, match="away"):
            await added.add([product("Lamp", "new")], lift)
        assert not (tmp_path / FILE).exists()
        assert added.fit(lift) is lift
        (tmp_path / FILE).write_text('{"product_id": 3}\nnot json\n')
        assert added.fit(lift) is lift
