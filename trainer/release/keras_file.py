"""What a Keras file would do before it is given to Keras: how much it unpacks to, and whose code it would run.

Keras builds what the configuration says and allocates what the weights say, so a few bytes can ask for all memory.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from twotower.errors import FieldViolation, InvalidFile

_MAX_BYTES: Final = 512 * 2**20
"""The contracted network is 1.3 MB; this leaves room for towers that are far wider."""
_MAX_JSON_BYTES: Final = 16 * 2**20
_MAX_ENTRIES: Final = 1000
_MAX_UNITS: Final = 65_536
_WEIGHTS: Final = "model.weights.h5"
_CONFIG: Final = "config.json"


def check_keras_file(path: Path) -> None:
    """Refuse a file that is no Keras file, would need too much memory, or brings code of its own.

    Raises:
        InvalidFile: naming the layer, or what is too large, and the bound.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_archive(path, archive)
        else:
            with path.open("rb") as file:
                config = _check_weights(path, file)
            if config is not None:
                _check_config(path, config)
    except InvalidFile:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        RecursionError,
        zipfile.BadZipFile,
        NotImplementedError,
    ) as error:
        raise _refused(
            path, "file", f"must be a Keras 3 file (.keras) or an HDF5 file of one: {error}"[:400]
        ) from error


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _MAX_ENTRIES or size > _MAX_BYTES:
        what = f"{len(entries)} entries of {size >> 20} MiB unpacked"
        raise _refused(path, "file", f"must be at most {_MAX_ENTRIES} entries of {_MAX_BYTES >> 20} MiB, has {what}")
    if archive.getinfo(_CONFIG).file_size > _MAX_JSON_BYTES:
        raise _refused(path, _CONFIG, f"must be at most {_MAX_JSON_BYTES >> 20} MiB")
    _check_config(path, json.loads(archive.read(_CONFIG)))
    # Bounded by the size that was checked: a reader never gives more than the archive's directory says.
    _check_weights(path, io.BytesIO(archive.read(_WEIGHTS)))


def _check_weights(path: Path, file: IO[bytes]) -> Any:
    """Check the arrays of an HDF5 file; its configuration, if it has one."""
    import h5py

    total = 0

    def add(_: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += item.size * item.dtype.itemsize
            if item.external or item.is_virtual:
                raise _refused(path, item.name, "must be in the file itself, not in another one")

    with h5py.File(file, "r") as weights:
        weights.visititems(add)
        if total > _MAX_BYTES:
            raise _refused(path, "weights", f"must be at most {_MAX_BYTES >> 20} MiB unpacked, are {total >> 20}")
        config = weights.attrs.get("model_config")
        return None if config is None else json.loads(config)


def _check_config(path: Path, config: Any) -> None:
    units = 0
    for layer in _objects(config):
        name = str((layer.get("config") or {}).get("name") or layer.get("class_name"))[:80]
        kind, module = layer.get("class_name"), layer.get("module")
        if kind in ("Lambda", "__lambda__") or layer.get("registered_name", "").partition(">")[0] == "Custom":
            raise _refused(
                path, name, f"is a {kind}; must be a file without code of its own, of Keras' own layers alone"
            )
        if isinstance(module, str) and module.partition(".")[0] not in ("keras", "tf_keras", "builtins"):
            raise _refused(
                path, name, f"is a {kind} of the module {module[:80]}; must be a file without code of its own"
            )
        units += layer["config"].get("units") or 0 if isinstance(layer.get("config"), dict) else 0
        if units > _MAX_UNITS:
            raise _refused(path, name, f"makes it more than {_MAX_UNITS} units in all")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in a configuration that has a class."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield {**value, "registered_name": str(value.get("registered_name") or "")}
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _refused(path: Path, field: str, text: str) -> InvalidFile:
    return InvalidFile(path, [FieldViolation(field, text)])
