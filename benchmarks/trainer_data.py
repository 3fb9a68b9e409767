"""Review files for the trainer's benchmarks."""

import os
import tempfile
from pathlib import Path

from trainer.synthetic.reviews import write_synthetic

REAL = "product_reviews_30k.csv.gz"


def review_file() -> Path:
    """The real file of $TWOTOWER_DATA, or synthetic reviews where there is none; prints which."""
    folder = os.environ.get("TWOTOWER_DATA")
    if folder and (Path(folder) / REAL).is_file():
        print(f"reviews: {REAL}")
        return Path(folder) / REAL
    path = Path(tempfile.mkdtemp()) / "sample.csv.gz"
    write_synthetic(path, 6000, 7)
    print("reviews: 6,000 SYNTHETIC ones, $TWOTOWER_DATA is not set")
    return path


def cache_folder() -> Path:
    """Where encoded texts are kept."""
    return Path(os.environ.get("TWOTOWER_CACHE") or Path.home() / ".cache" / "twotower")
