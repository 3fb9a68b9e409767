"""The Datafiniti review schema: 25 columns, of which the trainer reads eleven."""

from typing import Final

COLUMNS: Final = (
    "id",
    "brand",
    "categories",
    "dateAdded",
    "dateUpdated",
    "ean",
    "keys",
    "manufacturer",
    "manufacturerNumber",
    "name",
    "reviews.date",
    "reviews.dateAdded",
    "reviews.dateSeen",
    "reviews.didPurchase",
    "reviews.doRecommend",
    "reviews.id",
    "reviews.numHelpful",
    "reviews.rating",
    "reviews.sourceURLs",
    "reviews.text",
    "reviews.title",
    "reviews.userCity",
    "reviews.userProvince",
    "reviews.username",
    "upc",
)
"""All columns, in the file's order."""

REQUIRED: Final = (
    "id",
    "name",
    "brand",
    "categories",
    "manufacturer",
    "reviews.date",
    "reviews.rating",
    "reviews.text",
    "reviews.title",
    "reviews.username",
)
"""Columns that a file must have."""

REVIEW_ID: Final = "reviews.id"
"""Read where it is there."""
