"""Ranking quality on rolling temporal folds: `best` against live and decayed popularity, with a paired bootstrap
(twotower evaluate).
"""

import json
import os

from rich.console import Console

from benchmarks.trainer_data import cache_folder, review_file
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews
from trainer.encoding.export import cached_encoder
from trainer.evaluation.run import evaluate_reviews
from trainer.evaluation.show import print_table
from trainer.evaluation.table import headline
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions
from trainer.progress import Progress


def main() -> None:
    reviews, _ = read_reviews(review_file(), CleaningOptions())
    cache = cache_folder()
    table = evaluate_reviews(
        reviews,
        [TrainingOptions(preset_named("best"))],
        seeds=int(os.environ.get("SEEDS", "3")),
        folds=4,
        encoder_path=cached_encoder(cache),
        cache=cache,
        progress=Progress(Console(stderr=True)),
    )
    print_table(Console(width=180), table)
    print(json.dumps({name: None if value is None else round(value, 5) for name, value in headline(table).items()}))


if __name__ == "__main__":
    main()
