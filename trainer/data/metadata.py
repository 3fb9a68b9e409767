"""Files of products, of any format, and what they say of the products that were reviewed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from trainer.data import delimited, parquet
from trainer.data.columns import Repeated, Strings
from trainer.data.files import digest_of, files_in, fingerprint, inspect_text, refused
from trainer.data.names import PRODUCT_FIELDS, PRODUCT_USUAL, SHORT, candidates
from trainer.data.raw import SourceOptions
from trainer.data.records import records
from trainer.data.sniffing import kind_of
from trainer.data.values import maker_of, text_of

_SHOWN: Final = 3
Fields = dict[str, str]


def with_metadata(
    paths: Sequence[Path], columns: dict[str, Repeated], options: SourceOptions
) -> tuple[dict[str, Repeated], str, str]:
    """Add what files of products say to the columns of the reviews.

    Returns:
        The columns, a fingerprint of the files, and a sentence on how many products are in them.

    Raises:
        InvalidFile: not readable, no product's id recognised, or no product of the reviews in it.
    """
    products: dict[str, Fields] = {}
    files = files_in(paths)
    digests = []
    for path in files:
        digest, rows = _rows(path, options)
        digests.append(digest)
        _collect(path, rows, options, products)
    ids = columns["id"]
    found = np.array([value in products for value in ids.distinct], bool)
    reviewed = np.unique(ids.code)
    if not found[reviewed].any():
        theirs = ", ".join(list(products)[:_SHOWN])
        ours = ", ".join(ids.distinct[int(code)] for code in reviewed[:_SHOWN])
        raise refused(
            ", ".join(map(str, paths)),
            "--metadata",
            f"must name products of the reviews, none of its {len(products):,} ids is among theirs: {theirs} here, "
            f"{ours} there",
        )
    note = f"metadata names {int(found[reviewed].sum()):,} of {len(reviewed):,} products"
    merged = {name: _merged(ids, columns[name], products, name) for name in PRODUCT_FIELDS}
    return {**columns, **merged}, fingerprint(digests), note


def _merged(ids: Repeated, own: Repeated, products: Mapping[str, Fields], name: str) -> Repeated:
    """What the files of products say, and where they say nothing what the rows say."""
    said = Strings.of(products.get(value, {}).get(name, "") for value in ids.distinct)
    both = Strings.joined([said, own.distinct]).numbered()
    is_said = said.test(lambda value: bool(value.strip()))
    code = np.where(is_said[ids.code], both.code[ids.code], both.code[len(said) + own.code])
    return Repeated(both.distinct, code.astype(np.int32))


def _rows(path: Path, options: SourceOptions) -> tuple[str, Iterable[Mapping[str, object]]]:
    kind = kind_of(path)
    if kind == "parquet":
        return digest_of(path), parquet.read_table(path)
    text = inspect_text(path, options.encoding)
    if kind == "csv":
        return text.sha256, delimited.read_table(path, options)
    return text.sha256, _objects(path, options)


def _objects(path: Path, options: SourceOptions) -> Iterator[Mapping[str, object]]:
    broken = []
    for number, row in records(inspect_text(path, options.encoding)):
        if isinstance(row, dict):
            yield row
        else:
            broken.append(number)
    if broken:
        shown = ", ".join(map(str, broken[:5]))
        raise refused(path, "line", f"must be a JSON object, broken in {len(broken):,} lines ({shown})")


def _collect(
    path: Path, rows: Iterable[Mapping[str, object]], options: SourceOptions, products: dict[str, Fields]
) -> None:
    """Add the products of a file; of several rows of one product the last value that is not blank counts."""
    chosen = {SHORT.get(name, name): own for name, own in options.columns.items()}
    keys: dict[tuple[str, ...], dict[str, list[str]]] = {}
    recognised = False
    header: tuple[str, ...] = ()
    for row in rows:
        header = tuple(map(str, row))
        if header not in keys:
            # What is said of the reviews' columns holds here for those that are here.
            said = {name: own for name, own in chosen.items() if name in PRODUCT_USUAL and own in header}
            keys[header] = candidates(header, said, PRODUCT_USUAL)
        mapped = keys[header]
        if "id" not in mapped:
            continue
        recognised = True
        product_id = _first(row, mapped["id"]).strip()
        fields = products.setdefault(product_id.removesuffix(".0") if _is_whole(product_id) else product_id, {})
        for name in PRODUCT_FIELDS:
            value = _first(row, mapped.get(name, ()))
            value = value or (maker_of(row) if name == "manufacturer" else "")
            if value.strip():
                fields[name] = value
    if not recognised:
        raise refused(path, "--metadata", f"has no column that is recognised as the product's id: {', '.join(header)}")


def _first(row: Mapping[str, object], keys: Sequence[str]) -> str:
    """The first value that is not blank."""
    return next((text for key in keys if (text := text_of(row.get(key))).strip()), "")


def _is_whole(value: str) -> bool:
    return value.endswith(".0") and value[:-2].isdecimal()
