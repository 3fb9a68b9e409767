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
_MAX_WIDTH: Final = 16_384
"""Of all layers and inputs together: Keras makes their kernels before it reads the weights, here 512 MiB at most."""
_WIDTHS: Final = ("units", "filters", "input_dim", "output_dim", "shape", "batch_shape", "batch_input_shape")
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
    width = 0
    for layer in _objects(config):
        options = layer.get("config")
        options = options if isinstance(options, dict) else {}
        kind, module = layer["class_name"], layer.get("module")
        name = str(options.get("name") or kind)[:80]
        if kind in ("Lambda", "__lambda__") or layer["registered_name"].partition(">")[0] == "Custom":
            raise _refused(
                path, name, f"is a {kind}; must be a file without code of its own, of Keras' own layers alone"
            )
        if isinstance(module, str) and module.partition(".")[0] not in ("keras", "tf_keras", "builtins"):
            raise _refused(
                path, name, f"is a {kind} of the module {module[:80]}; must be a file without code of its own"
            )
        if kind != "__keras_tensor__":  # an output of a layer that is counted
            width += _width(options)
        if width > _MAX_WIDTH:
            raise _refused(path, name, f"makes layers and inputs more than {_MAX_WIDTH} units wide in all")


def _width(options: dict[str, Any]) -> int:
    """How wide a layer is; Keras itself refuses what is no number."""
    values = [options.get(name) for name in _WIDTHS]
    numbers = [number for value in values for number in (value if isinstance(value, list) else [value])]
    return sum(max(number, 0) for number in numbers if isinstance(number, int))


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
