"""Values of JSON and Parquet as text, and text as people wrote it before it was a web page."""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Final

from twotower.features import joined_categories

_TAGS: Final = re.compile(
    r"<!--.*?-->|</?(?:a|abbr|b|big|blockquote|br|center|code|dd|div|dl|dt|em|font|h[1-6]|hr|i|img|li|ol|p|pre|s|small|"
    r"span|strike|strong|sub|sup|table|tbody|td|th|tr|u|ul)(?:\s[^<>]*|/)?>",
    re.IGNORECASE | re.DOTALL,
)
_BLANKS: Final = re.compile(r"\s+")


def text_of(value: object) -> str:
    """A value as text: null and NaN are none, bytes are UTF-8, a list is its names, a time is ISO 8601."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, list | tuple | set):
        return joined_categories(flat(value))
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat() if isoformat else value)


def flat(value: object) -> Iterator[str]:
    """Names in lists of lists, in order; blanks are left out."""
    if isinstance(value, list | tuple | set):
        for item in value:
            yield from flat(item)
    elif text := text_of(value).strip():
        yield text


def without_markup(text: str) -> str:
    """A text without tags of HTML, and with its entities as characters."""
    if "<" in text:
        without = _TAGS.sub(" ", text)
        text = text if without == text else _BLANKS.sub(" ", without).strip()
    return html.unescape(text) if "&" in text else text


def maker_of(row: Mapping[str, object]) -> str:
    """The manufacturer in a product's details, as the dumps of 2023 have it."""
    details = row.get("details")
    return text_of(details.get("Manufacturer")) if isinstance(details, dict) else ""
