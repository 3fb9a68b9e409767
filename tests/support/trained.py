"""A small release, trained for real: for tests of what is served."""

from pathlib import Path

from trainer.network.fit_lift import ListwiseOptions
from trainer.network.fit_mse import FitOptions
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions, TrainingResult, train
from trainer.progress import Progress
from trainer.synthetic.reviews import write_synthetic


def tiny_reviews(path: Path, reviews: int = 600, seed: int = 7) -> Path:
    """Synthetic reviews."""
    write_synthetic(path, reviews, seed)
    return path


def train_tiny_result(
    root: Path,
    cache: Path,
    encoder: Path,
    *,
    preset: str = "v5_power",
    reviews: Path | None = None,
    seed: int = 7,
    epochs: int = 1,
    steps: int = 300,
) -> TrainingResult:
    """Train and give all that the run made; `steps` is of the preset ``best``, `epochs` of all others."""
    reviews = reviews or tiny_reviews(cache / "reviews.csv.gz")
    fit, listwise = FitOptions(epochs=epochs, seed=seed), ListwiseOptions(steps=steps)
    options = TrainingOptions(preset_named(preset), fit=fit, listwise=listwise)
    return train(reviews, root, options, encoder_path=encoder, cache=cache, progress=Progress())


def train_tiny(root: Path, cache: Path, encoder: Path, *, preset: str = "v5_power", epochs: int = 1) -> Path:
    """Train on 600 synthetic reviews.

    Args:
        root: folder of releases.
        cache: folder of encoded texts: the second call with it encodes nothing.
        encoder: folder of an exported encoder (the fixture ``encoder_path``).

    Returns:
        The release's directory.
    """
    return train_tiny_result(root, cache, encoder, preset=preset, epochs=epochs).release.path
