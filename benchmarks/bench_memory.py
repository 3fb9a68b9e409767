"""Memory of training: peak resident size and rows per second, from a synthetic file to a finished release.

Each size is trained in a process of its own, whose peak the kernel reports (`ru_maxrss`). The file is Parquet (`--csv`:
CSV) of 2,000 products, 2,000 distinct texts, and users of whom nine of ten write one review; every moment and every
(user, product) pair is drawn anew. The texts are few so that the encoder, whose memory does not depend on the rows, is
not what is measured; a file of distinct texts needs another 768 bytes per text for its vectors. One epoch is trained;
the number of epochs changes the time, not the memory.

    python benchmarks/bench_memory.py [--rows 1000000 10000000] [--csv]

The last line is JSON: `peak_mb_<n>m` for each size, `bytes_a_row` between the smallest and the largest, and
`rows_per_s` of the largest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks import rig

TEXTS: Final = 2_000
PRODUCTS: Final = 2_000
CHUNK: Final = 1_000_000
DAYS: Final = 2_000
ONE_REVIEW_SHARE: Final = 0.9
WORDS: Final = [
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
_SCRIPT: Final = Path(__file__).with_name("measured_training.py")


def main() -> None:
    """Train on every size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--csv", action="store_true")
    options = parser.parse_args()
    rig.print_machine("pandas", "pyarrow", "implicit", "tensorflow")
    measured: dict[int, dict[str, float]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="twotower-memory-") as folder:
            measured[rows] = _measure(rows, ".csv" if options.csv else ".parquet", Path(folder))
    figures = {f"peak_mb_{rows // 1_000_000}m": round(run["peak_mb"]) for rows, run in measured.items()}
    most, least = max(measured), min(measured)
    if most > least:
        megabytes = measured[most]["peak_mb"] - measured[least]["peak_mb"]
        figures["bytes_a_row"] = round(megabytes * 2**20 / (most - least))
    rig.print_json(**figures, rows_per_s=round(most / measured[most]["seconds"]))


def _measure(rows: int, suffix: str, folder: Path) -> dict[str, float]:
    """Write the file and train on it; the figures that the process prints last."""
    path = folder / f"reviews{suffix}"
    _write_reviews(path, rows)
    print(f"{rows:,} reviews, {path.stat().st_size / 1e6:,.0f} MB {suffix}", flush=True)
    arguments = (_SCRIPT, path, folder / "releases", rig.encoder_folder(), rig.cache_folder())
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        print(line, end="", flush=True)
    if process.wait():
        raise SystemExit(f"training on {rows:,} rows ended with {process.returncode}")
    figures: dict[str, float] = json.loads(line)
    return figures


def _write_reviews(path: Path, rows: int) -> None:
    """Write a file of so many reviews, a million in memory at a time."""
    rng = np.random.default_rng(7)
    writer: Any = None
    for start in range(0, rows, CHUNK):
        table = _reviews(start, min(CHUNK, rows - start), rng)
        if writer is None:
            kind = pyarrow.csv.CSVWriter if path.suffix == ".csv" else pyarrow.parquet.ParquetWriter
            writer = kind(path, table.schema)
        writer.write_table(table)
    writer.close()


def _reviews(start: int, rows: int, rng: np.random.Generator) -> pa.Table:
    """Reviews number `start` to `start + rows`."""
    # Most rows have a user of their own; the others share one user for every four rows.
    numbers = np.arange(start, start + rows)
    shared = rng.random(rows) >= ONE_REVIEW_SHARE
    users = np.where(shared, 10**9 + rng.integers(0, max(1, (start + rows) // 25), rows), numbers)
    popularity = 1.0 / np.arange(2, PRODUCTS + 2) ** 0.9
    products = rng.choice(PRODUCTS, rows, p=popularity / popularity.sum())
    texts = np.array([" ".join(WORDS[(n // 20**i) % 20] for i in range(3)) + f" {n}" for n in range(TEXTS)])
    text_rows = rng.integers(0, TEXTS, rows)
    times = np.datetime64("2014-01-01T00:00:00") + rng.integers(0, DAYS * 86_400, rows).astype("timedelta64[s]")
    return pa.table(
        {
            "id": np.array([f"P{n:05d}" for n in range(PRODUCTS)])[products],
            "name": np.array([f"Product {n}" for n in range(PRODUCTS)])[products],
            "brand": np.array([f"Brand {n % 90}" for n in range(PRODUCTS)])[products],
            "categories": np.array([f"Category {n % 30}" for n in range(PRODUCTS)])[products],
            "manufacturer": np.array([f"Maker {n % 90}" for n in range(PRODUCTS)])[products],
            "reviews.date": np.char.add(times.astype(str), "Z"),
            "reviews.rating": np.array(["1", "2", "3", "4", "5"])[rng.choice(5, rows, p=[0.05, 0.02, 0.05, 0.2, 0.68])],
            "reviews.text": texts[text_rows],
            "reviews.title": np.array(["Good", "Fine", "Poor"])[text_rows % 3],
            "reviews.username": np.char.add("user ", users.astype(str)),
        }
    )


if __name__ == "__main__":
    main()
