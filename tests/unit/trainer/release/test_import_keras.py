"""What an import needs, and files that are no network."""

from pathlib import Path

import pytest

from tests.support.networks import foreign_network
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.release.import_keras import ImportedFiles, import_keras
from twotower.errors import InvalidArgument, InvalidFile

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
