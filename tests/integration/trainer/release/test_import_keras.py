"""A Keras file made into a release that opens and replays."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from trainer.pipeline import TrainingResult
from twotower.cli import main
from twotower.model import score_catalogue
from twotower.release import Release


def test_a_trained_network_comes_back_as_the_same_release(
    trained: TrainingResult, encoder_path: Path, tmp_path: Path
) -> None:
    source = trained.release
    np.save(tmp_path / "factors.npy", source.item_factors.factors)
    np.save(tmp_path / "mean.npy", source.global_mean)
    flags = ["--products", str(source.path / "catalogue.jsonl"), "--item-factors", str(tmp_path / "factors.npy")]
    flags += [
        "--global-mean",
        str(tmp_path / "mean.npy"),
        "--encoder",
        str(encoder_path),
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(main, ["import-keras", str(source.path / "two_tower.keras"), *flags])
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "out").glob("imported-*")
    release = Release.open(path)
    users = np.asarray(source.golden.user_rows)
    expected = score_catalogue(source.weights, users, source.product_fusion)
    np.testing.assert_allclose(score_catalogue(release.weights, users, release.product_fusion), expected, atol=1e-5)
