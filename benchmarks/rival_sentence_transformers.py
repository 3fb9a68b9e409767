"""The rival of our encoder: `SentenceTransformer.encode` with its defaults, in a process of its own."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from trainer.encoding.export import bundled_model_path
from twotower.features import Float32


def encode(texts: list[str]) -> tuple[float, Float32]:
    """Seconds that the rival takes for `texts`, and its vectors (texts, 384) float32."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "texts.json").write_text(json.dumps(texts))
        output = subprocess.check_output([sys.executable, __file__, folder], text=True, stderr=subprocess.DEVNULL)
        return float(output.split()[-1]), np.load(f"{folder}/vectors.npy")


def _encode_here(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = json.loads((folder / "texts.json").read_text())
    model = SentenceTransformer(str(bundled_model_path()), device="cpu", local_files_only=True)
    model.encode(texts[:32])
    start = time.perf_counter()
    vectors = model.encode(texts, show_progress_bar=False)
    print(time.perf_counter() - start)
    np.save(folder / "vectors.npy", vectors)


if __name__ == "__main__":
    _encode_here(Path(sys.argv[1]))
