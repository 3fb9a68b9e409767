"""What an import needs, and files that are no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.networks import foreign_network
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.release.folders import check_folder
from trainer.release.import_keras import ImportedFiles, golden_bound, import_keras
from twotower.errors import InvalidArgument, InvalidFile
from twotower.release import Golden
from twotower.release_writer import ReleaseWriter

load_tensorflow()


def test_what_the_network_was_trained_with_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"--item-factors: is needed: .*; --global-mean: is needed"):
        import_keras(
            tmp_path / "m.keras", ImportedFiles(tmp_path / "p.jsonl", None, None), tmp_path, tmp_path, lambda _: None
        )


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    import keras

    (tmp_path / "bad.keras").write_bytes(b"not a zip")
    files = ImportedFiles(tmp_path / "p.jsonl", tmp_path / "f.npy", tmp_path / "m.npy")
    with pytest.raises(InvalidFile, match="must be a Keras 3 file"):
        import_keras(tmp_path / "bad.keras", files, tmp_path, tmp_path, lambda _: None)
    foreign_network(extra=keras.layers.Lambda(lambda x: x)).save(tmp_path / "code.keras")
    with pytest.raises(InvalidFile, match="without code of its own"):
        import_keras(tmp_path / "code.keras", files, tmp_path, tmp_path, lambda _: None)
    assert not list(tmp_path.glob("imported-*"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"review_count": "many"}, "line 2: review_count: must be a whole number from 0, got 'many'"),
        ({"review_count": 1.5}, "line 2: review_count: must be a whole number"),
        ({"mean_rating": 7}, "line 2: mean_rating: must be a number from 0 to 5, got 7"),
        ({"product_id": ""}, "line 2: product_id: must be 1 to 256 bytes"),
    ],
)
def test_a_product_that_is_none_is_named_by_line_and_key(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    foreign_network().save(tmp_path / "m.keras")
    lines = [{"product_id": "P1", "name": "a\u2028b"}, {"product_id": "P2", "name": "c", **row}]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "p.jsonl").write_text(text, encoding="utf-8")
    files = ImportedFiles(tmp_path / "p.jsonl", tmp_path / "f.npy", tmp_path / "m.npy")
    with pytest.raises(InvalidFile, match=message):
        import_keras(tmp_path / "m.keras", files, tmp_path / "out", tmp_path, lambda _: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("largest", "expected"), [(0.01, 1e-4), (5.0, 1e-4), (-949.0, 949 / 5 * 1e-4)])
def test_the_golden_bound_grows_with_the_scores(largest: float, expected: float) -> None:
    scores = np.array([[0.0, largest]], np.float32)
    golden = Golden(np.zeros((1, 449), np.float32), np.zeros((1, 2), np.int64), scores, scores)
    assert golden_bound(golden) == pytest.approx(expected)


def test_what_a_refused_release_wrote_is_taken_away(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "model.bin").write_bytes(b"x")
    out = tmp_path / "new" / "releases"
    with pytest.raises(ZeroDivisionError), ReleaseWriter(out) as writer:
        writer._encoder(encoder, "encoder-1")
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder"]


@pytest.mark.parametrize("kind", ["file", "inside a file"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    path.write_text("a file")
    with pytest.raises(InvalidArgument, match="--out: must be a folder that can be written"):
        check_folder(path if kind == "file" else path / "deeper", "--out")
    check_folder(tmp_path / "fine" / "deeper", "--out")
    assert not (tmp_path / "fine").exists()


@pytest.mark.parametrize("case", ["foreign-owned", "read-only", "full"])
def test_a_folder_that_another_owns_or_that_is_full_is_refused_before_the_work(tmp_path: Path, case: str) -> None:
    script = (
        "import sys; from pathlib import Path; from trainer.release.folders import check_folder; "
        "from twotower.errors import InvalidArgument\n"
        "try: check_folder(Path(sys.argv[1]) / 'releases', '--out')\n"
        "except InvalidArgument as error: print(error)"
    )
    run = [sys.executable, "-c", script, str(tmp_path)]
    if case == "foreign-owned":
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "true"]
        # The other user may not reach pytest's folders, nor this user's Python: a child that gives up its rights does.
        run[2] = f"import os\nimport trainer.release.folders, tempfile\nos.setgid(65534); os.setuid(65534)\n{script}"
        if os.getuid():
            pytest.skip("needs root, to become another user")
    else:
        command = ["unshare", "--mount", "true"]
        mount = f'mount -t tmpfs -o {"ro" if case == "read-only" else "size=8m"} tmpfs {tmp_path} && exec "$@"'
        run = ["unshare", "--mount", "sh", "-c", mount, "sh", *run]
    if not shutil.which(command[0]) or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"{command[0]} is not permitted here")
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    reason = {"foreign-owned": "Permission denied", "read-only": "Read-only file system", "full": "MiB free"}[case]
    assert said.startswith("--out: must ")
    assert reason in said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())
