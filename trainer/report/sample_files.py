"""Samples on disk, for people who want to see what a network was trained on."""

from pathlib import Path

import numpy as np

from trainer.features.samples import SAMPLES_PER_REVIEW
from trainer.pipeline import TrainingResult


def write_sample_files(folder: Path, result: TrainingResult, file_format: str) -> list[Path]:
    """Write ``negative_samples`` and ``final_df``, one line per sample: user, product and rating.

    The latter has reviews too, and also says which samples are negatives and which period they are of.

    Args:
        folder: made if missing.
        result: of the training run.
        file_format: ``csv`` or ``parquet``.

    Returns:
        The two files.
    """
    import pandas as pd

    reviews, inputs = result.reviews, result.inputs
    product = np.concatenate([inputs.training.product, inputs.validation.product])
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(np.array(reviews.user_ids[:], object)[reviews.user], SAMPLES_PER_REVIEW),
            "product_id": np.array([item.product_id for item in reviews.products], object)[product],
            "rating": np.concatenate([inputs.training.label, inputs.validation.label]),
            "is_negative": np.tile(np.arange(SAMPLES_PER_REVIEW) > 0, len(reviews)),
            "period": np.repeat(["training", "validation"], [len(inputs.training), len(inputs.validation)]),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    negative = frame[frame["is_negative"]][["user_id", "product_id", "rating"]]
    written = []
    for name, table in (("negative_samples", negative), ("final_df", frame)):
        path = folder / f"{name}.{file_format}"
        if file_format == "parquet":
            table.to_parquet(path, index=False)
        else:
            table.to_csv(path, index=False)
        written.append(path)
    return written
