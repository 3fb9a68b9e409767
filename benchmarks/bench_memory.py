"""Memory of training: peak resident size and rows per second, from a synthetic file to a finished release.

Each size is trained in a process of its own, whose peak the kernel reports (`ru_maxrss`). The file is Parquet (`--csv`:
CSV) of 2,000 products, 2,000 distinct texts, and users of whom nine of ten write one review; every moment and every
(user, product) pair is drawn anew. Few distinct texts, so that the encoder, whose memory does not depend on the rows,
is not what is measured; a file of distinct texts needs another 768 bytes a text for its vectors. One epoch; the number
of epochs changes the time, not the memory.

    python benchmarks/bench_memory.py [--rows 1000000 10000000] [--csv]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks.rig import print_machine
from benchmarks.trainer_data import cache_folder
from trainer.encoding.export import cached_encoder

TEXTS = 2_000
PRODUCTS = 2_000
CHUNK = 1_000_000
DAYS = 2_000
ONE_REVIEW_SHARE = 0.9
WORDS = [
    "good",
    "poor",
    "bright",
    "dull",
    "loud",
    "quiet",
    "quick",
    "slow",
    "sturdy",
    "weak",
    "cheap",
    "dear",
    "plain",
    "fine",
    "fresh",
    "stale",
    "warm",
    "cold",
    "soft",
    "hard",
]

TRAIN = """
import json, resource, sys, time
from pathlib import Path
from trainer.network.fit_mse import FitOptions
from trainer.pipeline import TrainingOptions, train
from trainer.network.presets import PRESETS
from trainer.progress import Progress
path, out, encoder, cache = map(Path, sys.argv[1:5])

class Stages(Progress):
    from contextlib import contextmanager
    @contextmanager
    def stage(self, label, total=None):
        with super().stage(label, total) as on_progress:
            yield on_progress
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {label:<20} {self.seconds[label]:8.1f} s, peak so far {peak:8,.0f} MB", flush=True)

started = time.monotonic()
options = TrainingOptions(PRESETS["v5_power"], fit=FitOptions(epochs=1))
train(path, out, options, encoder_path=encoder, cache=cache, progress=Stages())
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"peak_mb": peak_mb, "seconds": time.monotonic() - started}))
"""


def columns(start: int, rows: int, rng: np.random.Generator) -> pa.Table:
    """Reviews number `start` to `start + rows`."""
    # Rows of users with one review have a user each; the others share one user for every four rows.
    numbers = np.arange(start, start + rows)
    shared = rng.random(rows) >= ONE_REVIEW_SHARE
    users = np.where(shared, 10**9 + rng.integers(0, max(1, (start + rows) // 25), rows), numbers)
    popularity = 1.0 / np.arange(2, PRODUCTS + 2) ** 0.9
    products = rng.choice(PRODUCTS, rows, p=popularity / popularity.sum())
    texts = np.array([" ".join(WORDS[(n // 20**i) % 20] for i in range(3)) + f" {n}" for n in range(TEXTS)])
    said = rng.integers(0, TEXTS, rows)
    times = np.datetime64("2014-01-01T00:00:00") + rng.integers(0, DAYS * 86_400, rows).astype("timedelta64[s]")
    names = np.array([f"Product {n}" for n in range(PRODUCTS)])
    return pa.table(
        {
            "id": np.array([f"P{n:05d}" for n in range(PRODUCTS)])[products],
            "name": names[products],
            "brand": np.array([f"Brand {n % 90}" for n in range(PRODUCTS)])[products],
            "categories": np.array([f"Category {n % 30}" for n in range(PRODUCTS)])[products],
            "manufacturer": np.array([f"Maker {n % 90}" for n in range(PRODUCTS)])[products],
            "reviews.date": np.char.add(times.astype(str), "Z"),
            "reviews.rating": np.array(["1", "2", "3", "4", "5"])[rng.choice(5, rows, p=[0.05, 0.02, 0.05, 0.2, 0.68])],
            "reviews.text": texts[said],
            "reviews.title": np.array(["Good", "Fine", "Poor"])[said % 3],
            "reviews.username": np.char.add("user ", users.astype(str)),
        }
    )


def write_reviews(path: Path, rows: int) -> None:
    """A file of so many reviews, a million in memory at a time."""
    rng = np.random.default_rng(7)
    writer = None
    for start in range(0, rows, CHUNK):
        table = columns(start, min(CHUNK, rows - start), rng)
        if writer is None:
            writer = (
                pyarrow.csv.CSVWriter(path, table.schema)
                if path.suffix == ".csv"
                else pyarrow.parquet.ParquetWriter(path, table.schema)
            )
        writer.write_table(table)
    assert writer is not None
    writer.close()


def measure(rows: int, suffix: str, folder: Path) -> dict[str, float]:
    """Write the file and train on it; what the process says of itself."""
    path = folder / f"reviews{suffix}"
    write_reviews(path, rows)
    print(f"{rows:,} reviews, {path.stat().st_size / 1e6:,.0f} MB {suffix}", flush=True)
    cache = cache_folder()
    arguments = map(str, (path, folder / "releases", cached_encoder(cache), cache))
    process = subprocess.Popen([sys.executable, "-c", TRAIN, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        print(line, end="", flush=True)
    if process.wait():
        raise SystemExit(f"training on {rows:,} rows ended with {process.returncode}")
    found: dict[str, float] = json.loads(line)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--csv", action="store_true")
    options = parser.parse_args()
    print_machine("pandas", "pyarrow", "implicit")
    figures: dict[str, float] = {}
    found: dict[int, dict[str, float]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="twotower-memory-") as folder:
            found[rows] = measure(rows, ".csv" if options.csv else ".parquet", Path(folder))
        figures[f"peak_mb_{rows // 1_000_000}m"] = round(found[rows]["peak_mb"])
    most, least = max(found), min(found)
    if most > least:
        figures["bytes_a_row"] = round((found[most]["peak_mb"] - found[least]["peak_mb"]) * 2**20 / (most - least))
    figures["rows_per_s"] = round(most / found[most]["seconds"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
