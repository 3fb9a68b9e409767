"""Publishing to servers that speak the real protocol and record what they are sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.integration.trainer.conftest import RecordingServices
from trainer.cli.commands import publish as command
from trainer.pipeline import TrainingResult
from trainer.release.publish import Published, PublishFailed, publish
from twotower.cli import main
from twotower.release_users import UNDATED


def test_every_user_is_sent_with_every_review(services: tuple[RecordingServices, str], trained: TrainingResult) -> None:
    recording, target = services
    sent: list[int] = []
    done = publish(trained.release, target, target, batch_users=50, batch_reviews=60, on_progress=sent.append)
    reviews = trained.reviews
    named = ~reviews.anonymous
    assert done == Published(int(named.sum()), int(named[reviews.user].sum()), 24)
    assert sum(sent) == done.users
    assert recording.loaded == [trained.release.release_id]
    assert [request.release_id for request in recording.retired] == [trained.release.release_id]

    header, *batches = recording.parts
    manifest = trained.release.manifest
    assert (header.header.release_id, header.header.user_count) == (manifest.release_id, done.users)
    assert (header.header.space.encoder_id, header.header.space.als_id) == (manifest.encoder_id, manifest.als_id)
    assert all(
        len(part.batch.users) <= 50 and sum(len(user.reviews) for user in part.batch.users) <= 60 for part in batches
    )

    imported = {
        (user.user_id, review.review_id): (review.product_id, review.rating, review.fixed_point, review)
        for part in batches
        for user in part.batch.users
        for review in user.reviews
    }
    for row, review_id in enumerate(reviews.review_ids):
        user = reviews.user_ids[reviews.user[row]]
        if reviews.anonymous[reviews.user[row]]:
            assert (user, review_id) not in imported
            continue
        product_id, rating, fixed_point, review = imported[user, review_id]
        assert product_id == reviews.products[reviews.product[row]].product_id
        assert rating == reviews.rating[row]
        assert np.linalg.norm(np.frombuffer(fixed_point, "<i2") / 32767.0) == pytest.approx(1.0, abs=1e-3)
        if reviews.time_us[row] == UNDATED:
            assert not review.HasField("review_time")
        else:
            assert review.review_time.ToMicroseconds() == reviews.time_us[row]


def test_a_refusal_names_the_service_and_its_reason(
    services: tuple[RecordingServices, str], trained: TrainingResult
) -> None:
    recording, target = services
    recording.refuse = "golden request 3: scores differ by 0.2"
    with pytest.raises(PublishFailed, match=f"ranking service at {target}: FAILED_PRECONDITION: golden request 3"):
        publish(trained.release, target, target)
    assert recording.retired == []


@pytest.mark.parametrize("away", ["embedding", "ranking"])
def test_a_service_that_is_away_is_named(
    services: tuple[RecordingServices, str], trained: TrainingResult, away: str
) -> None:
    recording, target = services
    targets: dict[str, Any] = {"embedding": target, "ranking": target, away: "127.0.0.1:1"}
    with pytest.raises(PublishFailed, match=f"{away} service at 127.0.0.1:1: not reachable within 0.3 s"):
        publish(trained.release, **targets, connect_timeout_s=0.3)
    assert recording.loaded == []


def test_the_command_tells_what_is_served(services: tuple[RecordingServices, str], trained: TrainingResult) -> None:
    _, target = services
    result = CliRunner().invoke(
        command, [str(trained.release.path), "--admin-embedding", target, "--admin-ranking", target]
    )
    assert result.exit_code == 0, result.output
    assert f"published {trained.release.release_id}" in result.output
    assert "24 products served" in result.output


def test_the_command_says_in_one_line_that_there_is_no_release(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["publish", str(tmp_path / "none"), "--releases", str(tmp_path)])
    assert result.exit_code == 2
    assert f"neither the folder of a release nor the id of one: no such release in {tmp_path}" in result.output


def test_train_publishes_where_the_environment_says(
    services: tuple[RecordingServices, str],
    trained: TrainingResult,
    work: Path,
    encoder_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording, address = services
    monkeypatch.setenv("TWOTOWER_ADMIN_EMBEDDING", address)
    monkeypatch.setenv("TWOTOWER_ADMIN_RANKING", address)
    out = work / "published"
    flags = [
        "--reviews",
        str(work / "reviews.csv.gz"),
        "--out",
        str(out),
        "--cache",
        str(work / "cache"),
        "--encoder",
        str(encoder_path),
    ]
    result = CliRunner().invoke(main, ["train", *flags, "--epochs", "1", "--publish"])
    assert result.exit_code == 0, result.output
    (release_id,) = (path.parent.name for path in out.glob("*/manifest.json"))
    assert recording.loaded == [release_id]
    assert f"published {release_id}" in result.output
