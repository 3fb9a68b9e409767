"""Ranking quality on rolling temporal folds (`twotower evaluate`): `best` against live and decayed popularity, with a
paired bootstrap.

The number of seeds is $SEEDS, or 3. The last line is JSON: the headline of the table.
"""

import os

from benchmarks import rig
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews
from trainer.evaluation.run import evaluate_reviews
from trainer.evaluation.show import print_table
from trainer.evaluation.table import headline
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions
from trainer.progress import Progress
from twotower.terminal import console


def main() -> None:
    """Evaluate and print."""
    reviews, _ = read_reviews(rig.review_file(), CleaningOptions())
    table = evaluate_reviews(
        reviews,
        [TrainingOptions(preset_named("best"))],
        seeds=int(os.environ.get("SEEDS", "3")),
        folds=4,
        encoder_path=rig.encoder_folder(),
        cache=rig.cache_folder(),
        progress=Progress(console(stderr=True)),
    )
    rig.print_machine("tensorflow", "implicit", "openvino")
    print_table(console(), table)
    rig.print_json(**headline(table))


if __name__ == "__main__":
    main()
