"""From a review file to a release, with the real encoder, ALS and Keras."""

import gzip
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.support.trained import train_tiny_result
from trainer.cli.commands import train
from trainer.data.cleaning import CleaningOptions
from trainer.data.delimited import read_delimited
from trainer.data.reviews import read_reviews, training_rows
from trainer.features.history import AsOfFeatures
from trainer.features.samples import draw_samples
from trainer.network.towers import score_pairs
from trainer.pipeline import TrainingResult
from twotower.als import fold_in
from twotower.encoder import TextEncoder
from twotower.features import review_text
from twotower.release import Release
from twotower.release_users import UNDATED


def test_the_release_is_whole(trained: TrainingResult) -> None:
    release = Release.open(trained.release.path)
    assert release.manifest.preset == "v5_power"
    assert release.weights.parameter_count == release.manifest.metrics["trainable_parameters"] == 322_817
    assert trained.golden_difference <= release.manifest.golden_tolerance
    assert release.golden.user_rows[:2, 448].tolist() == [0.0, 1.0]
    assert not release.golden.user_rows[:2, :64].any()
    assert release.golden.user_rows[2:, :64].any()
    for row in release.golden.user_rows[:2]:
        np.testing.assert_array_equal(row[64:448], release.global_mean)


def test_every_review_has_three_negatives(trained: TrainingResult) -> None:
    assert trained.samples == (270 * 4, 30 * 4)
    assert sum(trained.samples) == 4 * len(trained.reviews)


def test_the_curve_starts_untrained_and_falls(trained: TrainingResult) -> None:
    curve = trained.release.manifest.metrics["curve"]
    assert [epoch["epoch"] for epoch in curve] == [0, 1, 2]
    assert curve[2]["mse"] < curve[0]["mse"]
    best = trained.release.manifest.metrics["best_epoch"]
    assert curve[best]["validation_mse"] == min(epoch["validation_mse"] for epoch in curve[1:])


def test_the_keras_files_hold_the_released_weights(trained: TrainingResult) -> None:
    import keras

    release = trained.release
    network = keras.saving.load_model(release.path / "two_tower.keras", safe_mode=True)
    golden = release.golden
    requests, width = golden.product_indices.shape
    products = np.concatenate([release.item_factors.factors, product_vectors(release)], axis=1)
    users = np.repeat(golden.user_rows, width, axis=0)
    scores = score_pairs(network, users, products[golden.product_indices.reshape(-1)]).reshape(requests, width)
    np.testing.assert_allclose(scores, golden.scores, atol=1e-5)
    network.load_weights(release.path / "two_tower.weights.h5")
    np.testing.assert_array_equal(
        score_pairs(network, users[:1], products[:1]), score_pairs(trained.fitted.network, users[:1], products[:1])
    )


def product_vectors(release: Release) -> np.ndarray:
    """Product texts, written out and encoded again by the release's own encoder."""
    texts = [" ".join(filter(None, (p.name, p.brand, p.categories, p.manufacturer))) for p in release.catalogue]
    return (TextEncoder(release.encoder_path).encode(texts).fixed_point / 32767.0).astype(np.float32)


def test_the_encoder_gives_the_golden_texts_and_the_users_vectors_again(trained: TrainingResult) -> None:
    release, reviews = trained.release, trained.reviews
    encoder = TextEncoder(release.encoder_path)
    texts, vectors = release.golden_texts
    np.testing.assert_array_equal(encoder.encode(texts).fixed_point, vectors)
    place = {review_id: row for row, review_id in enumerate(reviews.review_ids)}
    ids = [json.loads(line) for line in (release.users.path / "review_ids.jsonl").read_text().splitlines()][:20]
    texts = [review_text(reviews.titles[place[id_]], reviews.texts[place[id_]]) for id_ in ids]
    np.testing.assert_array_equal(encoder.encode(texts).fixed_point, release.users.fixed_point[:20])


def test_users_hold_every_review_of_every_named_user(trained: TrainingResult) -> None:
    release, reviews = trained.release, trained.reviews
    users = [json.loads(line) for line in (release.users.path / "user_ids.jsonl").read_text().splitlines()]
    assert users == [name for name, hidden in zip(reviews.user_ids, reviews.anonymous, strict=True) if not hidden]
    offsets, products, ratings = release.users.review_offsets, release.users.products, release.users.ratings
    assert offsets[-1] == (~reviews.anonymous[reviews.user]).sum()
    histories: list[dict[int, float]] = []
    for start, end in pairwise(offsets.tolist()):
        history: dict[int, float] = {}
        for product, rating in zip(products[start:end].tolist(), ratings[start:end].tolist(), strict=True):
            history[product] = history.get(product, 0.0) + rating
        histories.append(history)
    np.testing.assert_allclose(fold_in(release.item_factors, histories), release.users.als, atol=1e-6)
    np.testing.assert_array_equal(release.array("als_gram.npy"), release.item_factors.gram)
    times = release.users.times_us
    assert ((times == UNDATED) | (times > 0)).all()


def test_the_same_file_preset_and_seed_give_the_same_release(
    trained: TrainingResult, work: Path, encoder_path: Path
) -> None:
    plain = work / "plain.csv"
    plain.write_bytes(gzip.decompress((work / "reviews.csv.gz").read_bytes()))
    again = train_tiny_result(work / "again", work / "cache", encoder_path, reviews=plain, epochs=2)
    assert again.release.release_id == trained.release.release_id
    other = train_tiny_result(work / "again", work / "cache", encoder_path, reviews=plain, epochs=2, seed=8)
    assert other.release.release_id != trained.release.release_id


def test_keras_file_carries_no_time_and_no_address(trained: TrainingResult) -> None:
    with zipfile.ZipFile(trained.release.path / "two_tower.keras") as archive:
        assert "date_saved" not in archive.read("metadata.json").decode()
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("preset", ["v1", "v6_power"])
def test_other_presets_are_released_alike(preset: str, work: Path, encoder_path: Path, trained: TrainingResult) -> None:
    result = train_tiny_result(
        work / "presets", work / "cache", encoder_path, preset=preset, reviews=work / "reviews.csv.gz"
    )
    assert result.golden_difference <= 1e-4
    assert result.release.release_id.startswith(f"{preset}-")
    assert result.release.weights.parameter_count == 322_817


def test_the_command_trains_on_everything_and_prints_what_it_made(
    work: Path, encoder_path: Path, trained: TrainingResult, tmp_path: Path
) -> None:
    arguments = [
        "--reviews",
        work / "reviews.csv.gz",
        "--out",
        tmp_path / "out",
        "--cache",
        work / "cache",
        "--encoder",
        encoder_path,
    ]
    options = ["--epochs", "1", "--preset", "v2", "--validation-fraction", "0"]
    result = CliRunner().invoke(train, [*map(str, arguments), *options], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    (release,) = (path.parent for path in (tmp_path / "out").glob("*/manifest.json"))
    assert (tmp_path / "out" / "reports" / release.name / "report.html").is_file()
    for text in (release.name, "322,817", "1,200 (1,200 training, 0 validation)", "untrained", "MiB"):
        assert text in result.output
    assert Release.open(release).manifest.metrics["best_epoch"] == 1


@pytest.mark.data
def test_the_real_file_gives_120_000_samples(data_path: Path) -> None:
    path = data_path / "product_reviews_30k.csv.gz"
    reviews, report = read_reviews(path, CleaningOptions())
    assert (report.rows_read, report.rows_kept, len(reviews), len(reviews.products)) == (30_000, 30_000, 30_000, 271)
    assert (~reviews.dated).sum() == 46 + 8
    counts = {problem.field: problem.row_count for problem in report.problems}
    raw = read_delimited(path).columns
    for field in ("reviews.title", "reviews.username", "manufacturer"):
        assert counts[field] == sum(not value.strip() for value in raw[field])
    rows = training_rows(reviews, 0.1)
    features = AsOfFeatures(np.zeros((1, 449), np.float32), np.zeros(30_000, np.int32))
    training, validation = draw_samples(reviews, rows, features, 1.0, 7)
    assert (rows, len(training), len(training) + len(validation)) == (27_000, 108_000, 120_000)
    seen = set(zip(reviews.user[:rows].tolist(), reviews.product[:rows].tolist(), strict=True))
    users = np.repeat(reviews.user[:rows], 4).reshape(-1, 4)[:, 1:].reshape(-1)
    negatives = training.product.reshape(-1, 4)[:, 1:].reshape(-1)
    assert seen.isdisjoint(zip(users.tolist(), negatives.tolist(), strict=True))
