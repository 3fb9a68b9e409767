"""The release format: whole or not there, refused when anything in it was touched."""

import dataclasses
import json
import multiprocessing
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.releases import PRIOR_MEAN, product_id, random_weights, write_random_release
from twotower import release as release_format
from twotower.errors import NotFound, ReleaseInvalid
from twotower.features import Float32
from twotower.model import as_rating, score_catalogue
from twotower.release import MANIFEST, ROW_LAYOUT, Manifest, Release, list_releases
from twotower.release_users import UNDATED, ReleaseUsers, user_array
from twotower.release_writer import ReleaseWriter
from twotower.scoring import LiftScoring
from twotower.users_writer import UsersWriter


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return write_random_release(tmp_path / "releases", products=20)


def test_what_was_written_is_read(release: Release) -> None:
    expected = random_weights(np.random.default_rng(0), "elu")
    for ours, theirs in zip(release.weights.user_tower, expected.user_tower, strict=True):
        assert np.array_equal(ours.kernel, theirs.kernel)
        assert ours.activation == theirs.activation
    assert release.catalogue[3].product_id == product_id(3)
    assert release.item_factors.factors.shape == (20, 64)
    assert np.allclose(np.load(release.path / "als_gram.npy"), release.item_factors.gram)
    assert release.release_id.startswith("random-")


def test_the_same_content_is_the_same_release(tmp_path: Path) -> None:
    first = write_random_release(tmp_path, seed=1)
    assert write_random_release(tmp_path, seed=1).release_id == first.release_id
    assert write_random_release(tmp_path, seed=2).release_id != first.release_id
    assert len(list_releases(tmp_path)) == 2


def test_releases_share_one_encoder_on_disk(tmp_path: Path) -> None:
    first, second = (write_random_release(tmp_path, seed=seed) for seed in (1, 2))
    assert (first.encoder_path / "model.bin").samefile(second.encoder_path / "model.bin")


def test_opening_pauses_between_small_pieces(tmp_path: Path) -> None:
    written = write_random_release(tmp_path, products=1_000)
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    opened = Release.open(written.path, pause=pause)
    largest = max(entry["bytes"] for entry in written.manifest.files.values())
    assert pauses > largest / 2**18
    assert opened.catalogue == written.catalogue


def all_files(path: Path) -> list[str]:
    return sorted(json.loads((path / MANIFEST).read_text())["files"])


def test_every_file_is_covered_by_the_manifest(release: Release) -> None:
    on_disk = {str(path.relative_to(release.path)) for path in release.path.rglob("*") if path.is_file()}
    assert on_disk == {MANIFEST, *all_files(release.path)}


@pytest.mark.parametrize("damage", ["truncate", "edit", "remove"])
def test_a_damaged_file_is_named_whichever_it_is(tmp_path: Path, damage: str) -> None:
    names = all_files(write_random_release(tmp_path / "count").path)
    assert len(names) > 10
    for index, name in enumerate(names):
        release = write_random_release(tmp_path / str(index))
        file = release.path / name
        content = file.read_bytes()
        file.unlink()  # not written through: the encoder's files are hard links
        if damage == "truncate":
            file.write_bytes(content[:-1])
        elif damage == "edit":
            file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(ReleaseInvalid, match=f"^{name}: "):
            Release.open(release.path)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"format_version": 99}, "format_version is 99"),
        ({"preset": "other"}, "release_id .* is not the id of its content"),
        ({"surprise": 1}, r"unknown keys \['surprise'\]"),
        ({"golden_tolerance": 1e9}, "is not the id of its content"),
    ],
)
def test_an_edited_manifest_is_refused(release: Release, edit: dict[str, object], reason: str) -> None:
    manifest = release.path / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | edit))
    with pytest.raises(ReleaseInvalid, match=reason):
        Release.open(release.path)


@pytest.mark.parametrize("key", ["anonymous_names", "activations", "row_layout"])
@pytest.mark.parametrize("value", [None, 5, [["a"]], {"user": 5}, {"user": [["a"]]}])
def test_a_value_of_another_form_is_refused(release: Release, key: str, value: object) -> None:
    manifest = release.path / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {key: value}))
    with pytest.raises(ReleaseInvalid, match=MANIFEST):
        Release.open(release.path)
    assert list_releases(release.path.parent) == []


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_manifest_that_is_no_manifest_is_refused(release: Release, content: str) -> None:
    (release.path / MANIFEST).write_text(content)
    with pytest.raises(ReleaseInvalid, match=MANIFEST):
        Release.open(release.path)
    assert list_releases(release.path.parent) == []


def test_no_release_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no release at 'nowhere'"):
        Release.open(tmp_path / "nowhere")


def test_a_matrix_of_another_shape_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReleaseWriter, "catalogue", lambda self, products: _write_one_product(self))
    with pytest.raises(ReleaseInvalid, match=r"catalogue.jsonl: 1 products, the manifest says 50"):
        write_random_release(tmp_path)


def _write_one_product(writer: ReleaseWriter) -> None:
    product = release_format.Product("p", "name", "", "", "", 1, 5.0)
    writer.path("catalogue.jsonl").write_text(json.dumps(dataclasses.asdict(product)) + "\n")


def test_rows_of_another_layout_are_refused(tmp_path: Path) -> None:
    turned = {**ROW_LAYOUT, "user": tuple(reversed(ROW_LAYOUT["user"]))}
    with pytest.raises(ReleaseInvalid, match=r"row_layout is .*this version serves"):
        write_random_release(tmp_path, row_layout=turned)


@pytest.mark.parametrize("lift", [False, True])
def test_a_release_of_format_1_answers_as_the_same_release_of_format_2(tmp_path: Path, lift: bool) -> None:
    new = write_random_release(tmp_path, lift=lift)
    raw = json.loads((new.path / MANIFEST).read_text())
    del raw["row_layout"], raw["has_users"]
    raw["scoring"].pop("prior_mean", None)
    old = dataclasses.replace(new.manifest, format_version=1, scoring=raw["scoring"])
    raw |= {"format_version": 1, "release_id": old.content_id()}
    (new.path / MANIFEST).write_text(json.dumps(raw))
    release = Release.open(new.path.rename(tmp_path / old.content_id()))
    assert release.release_id != new.release_id
    assert release.replay_golden(answers(release)) <= 1e-5
    if lift:
        assert isinstance(release.scoring, LiftScoring)
        assert release.scoring.prior_mean == pytest.approx(PRIOR_MEAN, abs=1e-3)


def answers(release: Release) -> Callable[[Float32], tuple[Float32, Float32]]:
    def score(rows: Float32) -> tuple[Float32, Float32]:
        network = score_catalogue(release.weights, rows, release.product_fusion)
        return release.scoring.scores(network), release.scoring.ratings(network)

    return score


def test_users_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    expected = {
        "review_offsets": np.array([0, 2, 3]),
        "products": np.array([5, 1, 5], np.int32),
        "ratings": np.array([1, 5, 2.5], np.float32),
        "times_us": np.array([7, UNDATED, 9]),
        "fixed_point": rng.integers(-32767, 32767, (3, 384), np.int16),
        "als": rng.normal(size=(2, 64)).astype(np.float32),
    }
    names, ids = ["Anna\n", "Bö"], ["1", "2", ""]
    with UsersWriter(tmp_path / "users") as writer:
        writer.write(names, ids, {name: [array[:1], array[1:]] for name, array in expected.items()})
        folder = writer.commit("r-1")
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        users = ReleaseUsers.open(folder, "r-1", 6)
        assert (len(users), list(users.user_ids()), list(users.review_ids())) == (2, names, ids)
        assert [users.reviews_of(user) for user in range(2)] == [slice(0, 2), slice(2, 3)]
        for name, array in expected.items():
            np.save(tmp_path / "whole.npy", array)
            assert (folder / user_array(name)).read_bytes() == (tmp_path / "whole.npy").read_bytes()
    with UsersWriter(tmp_path / "users") as writer:
        writer.write(names, ids, {name: [array[:1]] for name, array in expected.items()})
        writer.commit("r-1")
    with pytest.raises(ReleaseInvalid, match="users/: its arrays have different lengths"):
        ReleaseUsers.open(folder, "r-1", 6)


def test_an_unknown_scoring_is_refused(tmp_path: Path) -> None:
    for scoring, reason in (
        ({"kind": "magic"}, "'magic' is not known"),
        ({"kind": "rating", "slope": 1}, "slope"),
        ({"kind": "lift"}, "scoring"),
    ):
        with pytest.raises(ReleaseInvalid, match=reason):
            write_random_release(tmp_path, scoring=scoring)


def test_golden_requests_catch_a_head_that_answers_otherwise(release: Release) -> None:
    def score(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = score_catalogue(release.weights, rows, release.product_fusion)
        return scores, as_rating(scores)

    assert release.replay_golden(score) <= 1e-5

    def wrong_for_the_third(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, ratings = score(rows)
        scores[2] += 0.001
        return scores, ratings

    with pytest.raises(ReleaseInvalid, match=r"golden request 2: scores differ by 0\.001"):
        release.replay_golden(wrong_for_the_third)
    with pytest.raises(ReleaseInvalid, match="golden request 0: scores differ by nan"):
        release.replay_golden(lambda rows: (score(rows)[0] * np.float32("nan"), score(rows)[1]))


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in the middle"), ReleaseWriter(tmp_path) as writer:
        writer.array("item_factors.npy", np.zeros(3))
        raise RuntimeError("in the middle")
    assert list(tmp_path.iterdir()) == []


def _write_and_hang(root: Path, started: "multiprocessing.synchronize.Event") -> None:
    with ReleaseWriter(root) as writer:
        writer.array("item_factors.npy", np.zeros(3))
        started.set()
        signal.pause()


def test_a_killed_writer_leaves_no_release_and_the_next_one_clears_up(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_write_and_hang, args=(tmp_path, started))
    process.start()
    assert started.wait(60)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list_releases(tmp_path) == []
    release = write_random_release(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoders", release.release_id]


def test_the_newest_release_is_listed_first(tmp_path: Path) -> None:
    old, new = (write_random_release(tmp_path, seed=seed) for seed in (1, 2))
    for release, year in ((old, 2024), (new, 2025)):
        manifest = dataclasses.replace(release.manifest, created_at=f"{year}-01-01T00:00:00+00:00")
        (release.path / MANIFEST).write_text(manifest.to_json())
    assert [m.release_id for m in list_releases(tmp_path)] == [new.release_id, old.release_id]
    assert Manifest.from_json((old.path / MANIFEST).read_text()).created_at.startswith("2024")
