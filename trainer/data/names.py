"""What review files call their columns: names that are recognised, names that are given, and a word where neither fits.

Names are compared without case and punctuation, and without a type behind a colon (``user_id:token``).
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from trainer.data.files import refused
from twotower.errors import FieldViolation, InvalidFile

REVIEW_ID: Final = "reviews.id"
NEEDED: Final = ("id", "reviews.username", "reviews.rating")
PRODUCT_FIELDS: Final = ("name", "brand", "categories", "manufacturer")


def _names(names: str) -> tuple[str, ...]:
    return tuple(names.split())


USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "id": _names(
        "parent_asin asin item_id product_id isbn book_id movie_id recipe_id business_id sku article_id "
        "track_id song_id game_id app_id anime_id hotel_id gmap_id beer_id item product prod_id goods_id "
        "artist_id id"
    ),
    "reviews.username": _names(
        "reviews.username reviewerID user_id username user user_name reviewer_id customer_id reviewer "
        "author_id author account_id member_id visitor_id uid nickname review_profilename reviewerName"
    ),
    "reviews.rating": _names(
        "reviews.rating overall rating stars star_rating score review_score review_rating review_overall "
        "book_rating user_rating rate"
    ),
    "reviews.title": _names("reviews.title summary review_title review_headline review_summary headline title"),
    "reviews.text": _names(
        "reviews.text reviewText review_text review_body review_content text review content body comment comments"
    ),
    "reviews.date": _names(
        "reviews.date unixReviewTime timestamp sort_timestamp unix_timestamp review_date review_time "
        "date reviewTime datetime time created_at submitted date_submitted ts"
    ),
    REVIEW_ID: ("reviews.id", "review_id"),
    "name": _names("name product_name product_title item_name movie_title book_title"),
    "brand": ("brand", "store", "label"),
    "categories": _names("categories category genres genre product_category main_category department"),
    "manufacturer": ("manufacturer", "maker"),
}
"""Column of the schema → what files call it, the surest name first."""
COLUMNS_READ: Final = tuple(USUAL)
SHORT: Final[Mapping[str, str]] = {
    "product": "id",
    "user": "reviews.username",
    "rating": "reviews.rating",
    "title": "reviews.title",
    "text": "reviews.text",
    "date": "reviews.date",
    "review_id": REVIEW_ID,
}
"""Short names of columns of the schema, for ``--column``."""
PRODUCT_USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "id": USUAL["id"],
    "name": _names("name title product_name product_title item_name movie_title book_title"),
    "brand": USUAL["brand"],
    "categories": _names("categories category genres genre product_category department main_category"),
    "manufacturer": USUAL["manufacturer"],
}
"""The same for files of products."""
_TYPE: Final = re.compile(r":(token|float|token_seq|float_seq)$")
_PUNCTUATION: Final = re.compile(r"[\W_]+")


def plain(name: str) -> str:
    """A name as it is compared."""
    return _PUNCTUATION.sub("", _TYPE.sub("", name.strip())).casefold()


def chosen_columns(columns: Mapping[str, str], allowed: Sequence[str] = COLUMNS_READ) -> dict[str, str]:
    """What ``--column`` says, by the schema's names.

    Raises:
        InvalidFile: a name that the schema does not have; the nearest one is told.
    """
    problems, chosen = [], {}
    for name, own in columns.items():
        full = SHORT.get(name, name)
        if full in allowed:
            chosen[full] = own
            continue
        nearest = difflib.get_close_matches(name, [*allowed, *SHORT], 1, 0.4)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        listed = ", ".join((*allowed, *(short for short in SHORT if SHORT[short] in allowed)))
        problems.append(FieldViolation(f"--column {name}", f"must be one of {listed}{hint}"))
    if problems:
        raise InvalidFile("options", problems)
    return chosen


def candidates(
    found: Sequence[str], chosen: Mapping[str, str], usual: Mapping[str, tuple[str, ...]] = USUAL
) -> dict[str, list[str]]:
    """Columns of the schema → names that the file has for it, the surest first; those without one are left out.

    Args:
        found: the file's own names.
        chosen: column of the schema → the file's name, where somebody said it.
        usual: what is recognised.
    """
    by_plain: dict[str, list[str]] = {}
    for name in found:
        by_plain.setdefault(plain(name), []).append(name)
    taken = set(chosen.values())
    result = {}
    for column, usual_names in usual.items():
        if column in chosen:
            names = [name for name in found if name == chosen[column]] or [
                name for name in by_plain.get(plain(chosen[column]), []) if name not in taken
            ]
        else:
            exact = [column] if column in found else []
            wanted = dict.fromkeys([*exact, *(own for name in usual_names for own in by_plain.get(plain(name), []))])
            names = [name for name in wanted if name not in taken]
        if names:
            result[column] = names
    return _without_ambiguous(result, chosen)


def _without_ambiguous(result: dict[str, list[str]], chosen: Mapping[str, str]) -> dict[str, list[str]]:
    """Decide what could be two columns: ``title`` without a text is the product's; ``id`` beside another is none."""
    ids = result.get("id", [])
    if "id" not in chosen and "id" in ids and len(ids) > 1 and "reviews.rating" not in result.get("reviews.rating", []):
        result["id"] = [name for name in ids if name != "id"]
    titles = result.get("reviews.title", [])
    if "reviews.title" not in chosen and "reviews.text" not in result and [plain(name) for name in titles] == ["title"]:
        del result["reviews.title"]
        result.setdefault("name", titles)
    return result


def refuse_header(
    path: Path, found: Sequence[str], mapped: Mapping[str, Sequence[str]], chosen: Mapping[str, str]
) -> None:
    """Refuse a file in which a needed column is not recognised, or a chosen one is not there.

    Raises:
        InvalidFile: with the columns found, the likely mapping and the options to paste.
    """
    absent = [column for column in chosen if column not in mapped]
    missing = [column for column in NEEDED if column not in mapped and column not in absent]
    if not absent and not missing:
        return
    listed = ", ".join(found[:40]) + (", …" if len(found) > 40 else "")
    said = [f"{chosen[column]!r}, given for {column}, is not there" for column in absent]
    said += [f"{column} is missing: no column is recognised as it" for column in missing]
    free = [name for name in found if not any(name in names for names in mapped.values())]
    options = [f"--column {column}={mapped[column][0]}" for column in NEEDED if column in mapped]
    options += [f"--column {column}={_nearest(column, free)}" for column in (*missing, *absent)]
    raise refused(
        path,
        "columns",
        f"{'; '.join(said)}. The file has: {listed}. Say which is which: {' '.join(map(_quoted, options))}",
    )


def _nearest(column: str, free: Sequence[str]) -> str:
    """The unused column of the file that is likeliest meant."""
    best, likeness = "COLUMN", 0.7
    for name in free:
        for usual in USUAL[column]:
            one, other = plain(name), plain(usual)
            inside = len(other) > 3 and other in one
            ratio = 0.9 if inside else difflib.SequenceMatcher(None, one, other).ratio()
            if ratio > likeness:
                best, likeness = name, ratio
    return best


def _quoted(option: str) -> str:
    flag, _, value = option.partition(" ")
    return f"{flag} '{value}'" if re.search(r"[^\w.=:/-]", value) else option
