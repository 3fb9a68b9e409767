"""One training in this process, for bench_memory.py.

    python benchmarks/measured_training.py <reviews> <releases> <encoder> <cache>

Prints a line per stage with its seconds and the peak resident size so far, then a line of JSON: `peak_mb` and
`seconds` of the whole. Imports only what training needs, so that nothing else is measured.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.network.fit_mse import FitOptions
from trainer.network.presets import PRESETS
from trainer.pipeline import TrainingOptions, train
from trainer.progress import Progress


class PrintedStages(Progress):
    """Prints each stage when it ends."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage."""
        with super().stage(label, total) as on_progress:
            yield on_progress
        print(f"  {label:<20} {self.seconds[label]:8.1f} s, peak so far {_peak_mb():8,.0f} MB", flush=True)


def main(reviews: Path, releases: Path, encoder: Path, cache: Path) -> None:
    """Train one epoch of `v5_power`."""
    start = time.monotonic()
    options = TrainingOptions(PRESETS["v5_power"], fit=FitOptions(epochs=1))
    train(reviews, releases, options, encoder_path=encoder, cache=cache, progress=PrintedStages())
    print(json.dumps({"peak_mb": _peak_mb(), "seconds": time.monotonic() - start}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
