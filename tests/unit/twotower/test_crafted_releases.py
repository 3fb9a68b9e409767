"""A foreign, crafted or damaged release is refused by a domain error, whatever is wrong with it, and hurts no other.

Each example changes something of a valid release and then makes the checksums and the id right again, as one who may
write the folder can.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from tests.support.releases import write_random_release
from twotower.encoder import EncoderConfig, encoder_id
from twotower.errors import NotFound, ReleaseInvalid
from twotower.model import score_catalogue
from twotower.release import MANIFEST, Manifest, Release, is_served, list_releases
from twotower.release_manifest import ENCODER_FILES

PRODUCTS = 4
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**70, 0.5, -0.5, float("nan"), float("inf"), "", "text", "\ud800", "a" * 10_000,
    "../x", "/etc/passwd", [], {}, [None], [[1]], {"": None}, {"user_tower": "elu"}, [["user", 1]],
    "encoder", {"kind": "lift"},
]  # fmt: skip
ARRAYS: list[Callable[[np.ndarray], Any]] = [
    lambda array: array[:0],
    lambda array: array[..., np.newaxis],
    lambda array: array.reshape(-1),
    lambda array: np.array(3.0),
    lambda array: array.astype(np.float64),
    lambda array: array.astype(np.complex64),
    lambda array: array.astype(">f4"),
    lambda array: array.astype("S3"),
    lambda array: np.zeros(array.shape, [("a", "<f4"), ("b", "<i4")]),
    lambda array: np.full_like(array, 2**31 - 1 if array.dtype == np.int64 else 77),
    lambda array: np.full_like(array, -(2**31) if array.dtype == np.int64 else -77),
    lambda array: (array * np.float32("nan")).astype(array.dtype) if array.dtype.kind == "f" else array - 1,
    lambda array: (
        (array + np.float32("inf")).astype(array.dtype) if array.dtype.kind == "f" else np.full_like(array, 9)
    ),
    lambda array: array[::-1].copy(),
    lambda array: np.concatenate([array, array]),
    np.asfortranarray,
    lambda array: np.array([{"pickled": 1}], object),
    lambda array: {"npz": array},
]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_release(tmp_path_factory.mktemp("valid") / "releases", products=PRODUCTS, lift=True).path


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **array) if isinstance(array, dict) else np.save(file, array, allow_pickle=True)
    return file.getvalue()


def put(value: Any, path: list[int], new: Any) -> Any:
    """A JSON value with something in it replaced, removed or added; `path` says where."""
    if not path or not isinstance(value, list | dict) or not value:
        return new
    step, *rest = path
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[step % len(keys)]
    if not rest and step % 3 == 0:
        return (
            {k: v for k, v in value.items() if k != key}
            if isinstance(value, dict)
            else [v for k, v in enumerate(value) if k != key]
        )
    changed = value.copy()
    changed[key] = put(value[key], rest, new)
    return changed


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Callable[[bytes], bytes | None]]:
    """A file of the release and what becomes of its bytes; None: it goes."""
    names = [
        "catalogue.jsonl",
        "weights.safetensors",
        "golden/texts.json",
        *(f"encoder/{name}" for name in ENCODER_FILES),
    ]
    arrays = [
        "item_factors.npy", "product_towers.npy", "product_fusion.npy", "global_mean.npy",
        *(f"golden/{name}.npy" for name in ("user_rows", "product_indices", "scores", "predicted_ratings",
                                            "text_fixed_point")),
        *(f"scoring/{name}.npy" for name in ("cold_scores", "rating_base", "log_popularity")),
    ]  # fmt: skip
    name = draw(st.sampled_from([*names, *arrays, MANIFEST, MANIFEST]))
    kind = draw(st.sampled_from(["bytes", "own", "own", "own"]))
    value, path = draw(st.sampled_from(VALUES)), draw(st.lists(st.integers(0, 40), max_size=4))
    if kind == "bytes" and name != MANIFEST:
        at, noise = draw(st.integers(0, 400)), draw(st.binary(max_size=30))
        return name, draw(
            st.sampled_from(
                [lambda data: None, lambda data: data[:at], lambda data: data[:at] + noise + data[at + len(noise) :],
                 lambda data: noise, lambda data: b"[" * 100_000]
            )
        )  # fmt: skip
    if name.endswith(".npy"):
        mutate = draw(st.sampled_from(ARRAYS))
        return name, lambda data: npy(mutate(np.load(io.BytesIO(data))))
    if name == "weights.safetensors":
        mutate = draw(st.sampled_from([*ARRAYS[:4], *ARRAYS[9:15]]))

        def mutated(data: bytes) -> bytes:
            tensors = load(data)
            key = sorted(tensors)[sum(path) % len(tensors)]
            return save(tensors | {key: np.ascontiguousarray(mutate(tensors[key]))})

        return name, mutated
    if name == "catalogue.jsonl":

        def relined(data: bytes) -> bytes:
            lines: Any = put([json.loads(line) for line in data.splitlines()], path, value)
            return b"".join(
                json.dumps(line).encode() + b"\n" for line in (lines if isinstance(lines, list) else [lines])
            )

        return name, relined

    def rewritten(data: bytes) -> bytes:
        try:
            raw = json.loads(data)
        except ValueError:
            return json.dumps(value).encode()
        return json.dumps(put(raw, path, value)).encode()

    return name, rewritten


def rewrite(folder: Path, name: str, change: Callable[[bytes], bytes | None]) -> Path:
    """Change a file, and make the checksums, the id and the folder's name right where they can be."""
    manifest = folder / MANIFEST
    file = folder / name
    data = change(file.read_bytes())
    file.unlink()  # not written through: encoders are hard links
    if data is not None:
        file.write_bytes(data)
    raw: Any = json.loads(manifest.read_bytes())
    if data is not None and name != MANIFEST:
        raw["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    if isinstance(raw, dict):
        content = {key: value for key, value in raw.items() if key not in ("release_id", "created_at")}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        if name != MANIFEST or isinstance(raw.get("release_id"), str):
            raw["release_id"] = f"{raw.get('preset')}-{digest}"[:100]
    manifest.write_text(json.dumps(raw))
    wanted = str(raw.get("release_id")) if isinstance(raw, dict) else ""
    plain = wanted and "/" not in wanted and "\0" not in wanted and wanted.isascii()
    return folder.rename(folder.parent / wanted) if plain else folder


def use(path: Path) -> None:
    """Read all that the services and the trainer read of a release."""
    release = Release.open(path)
    texts, vectors = release.golden_texts
    assert len(texts) == len(vectors)
    assert len(list(release.users.user_ids())) == len(release.users)
    EncoderConfig.read(release.encoder_path)
    encoder_id(release.encoder_path)

    def score(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        network = score_catalogue(release.weights, rows, release.product_fusion)
        return release.scoring.scores(network), release.scoring.ratings(network)

    release.replay_golden(score)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=changes())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_is_changed_is_a_domain_error_or_works(
    valid: Path, tmp_path: Path, change: tuple[str, Callable[[bytes], bytes | None]]
) -> None:
    root = tmp_path / "releases"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(valid, root / "sound" / valid.name)  # a neighbour under its own name is kept apart from the copy
    shutil.copytree(valid, root / valid.name, copy_function=shutil.copy)
    path = rewrite(root / valid.name, *change)
    messages = []
    for read in (use, partial(Release.open, needed=is_served)):
        try:
            read(path)
        except (ReleaseInvalid, NotFound) as error:
            messages.append(str(error))
    assert all(message.encode() and message.isprintable() for message in messages)
    list_releases(root)
    assert [manifest.release_id for manifest in list_releases(root / "sound")] == [valid.name]


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a/../../outside", "encoder/..", "", "a//b", ".", MANIFEST]
)
def test_a_name_outside_of_the_folder_is_refused(valid: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("x")
    copy = shutil.copytree(valid, tmp_path / valid.name)

    def listed(data: bytes) -> bytes:
        raw = json.loads(data)
        raw["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
        return json.dumps(raw).encode()

    with pytest.raises(ReleaseInvalid, match="files must be"):
        Release.open(rewrite(copy, MANIFEST, listed))


def test_a_link_out_of_the_folder_is_refused(valid: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(valid, tmp_path / "releases" / valid.name)
    (tmp_path / "secret").write_bytes((copy / "als_gram.npy").read_bytes())
    (copy / "als_gram.npy").unlink()
    (copy / "als_gram.npy").symlink_to(tmp_path / "secret")
    with pytest.raises(ReleaseInvalid, match=r"als_gram.npy: is a link out"):
        Release.open(copy)
    (copy / "als_gram.npy").unlink()
    (copy / "golden").rename(tmp_path / "golden")
    (copy / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(ReleaseInvalid, match=r"als_gram.npy: missing|golden/.*: is a link out"):
        Release.open(copy)


@pytest.mark.parametrize(
    "name", ["item_factors.npy", "weights.safetensors", "catalogue.jsonl", "golden/texts.json", "encoder/model.xml"]
)
def test_a_file_that_is_not_listed_is_not_read(valid: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(valid, tmp_path / valid.name)

    def unlisted(data: bytes) -> bytes:
        raw = json.loads(data)
        del raw["files"][name]
        return json.dumps(raw).encode()

    path = rewrite(copy, MANIFEST, unlisted)
    with pytest.raises(ReleaseInvalid, match=f"{name}: is not among the manifest's files"):
        use(path)


@pytest.mark.parametrize("alias", ["latest", "x.bak", "v5-000000000000"])
def test_a_release_under_another_name_is_refused(valid: Path, tmp_path: Path, alias: str) -> None:
    shutil.copytree(valid, tmp_path / valid.name)
    (tmp_path / alias).symlink_to(tmp_path / valid.name)
    with pytest.raises(ReleaseInvalid, match=f"is in a folder named '{alias}'"):
        Release.open(tmp_path / alias)
    assert [manifest.release_id for manifest in list_releases(tmp_path)] == [valid.name]


def test_factors_of_another_space_are_refused(valid: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(valid, tmp_path / valid.name)
    path = rewrite(copy, "item_factors.npy", lambda data: npy(np.load(io.BytesIO(data)) * np.float32(1.5)))
    with pytest.raises(ReleaseInvalid, match=r"als_id .* is not that of its factors"):
        Release.open(path)


def test_an_encoders_id_covers_its_graph_only_where_its_config_says_so(tmp_path: Path) -> None:
    ids = []
    for version in (None, 2):
        for graph in ("one", "another"):
            for name in ENCODER_FILES:
                (tmp_path / name).write_text(graph if name == "model.xml" else "same")
            config = {"model": "m", "max_tokens": 256} | ({"id_version": version} if version else {})
            (tmp_path / "config.json").write_text(json.dumps(config))
            ids.append(encoder_id(tmp_path))
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_a_manifest_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    os.truncate(os.open(tmp_path / "release" / MANIFEST, os.O_CREAT | os.O_RDWR), 2**40)
    with pytest.raises(ReleaseInvalid, match="at most 16 MiB"):
        Manifest.read(tmp_path / "release")
