"""Answers as tables for a terminal."""

from clients.tables.products import product_fields, product_table, similar_table
from clients.tables.ranking import answer_line, explanation_table, recommendation_table
from clients.tables.releases import release_fields, release_table, shadow_line
from clients.tables.terminal import console, fields_table, latency_line, listing, plain, timed
from clients.tables.users import review_count_line, review_lines, user_fields, user_line

__all__ = [
    "answer_line",
    "console",
    "explanation_table",
    "fields_table",
    "latency_line",
    "listing",
    "plain",
    "product_fields",
    "product_table",
    "recommendation_table",
    "release_fields",
    "release_table",
    "review_count_line",
    "review_lines",
    "shadow_line",
    "similar_table",
    "timed",
    "user_fields",
    "user_line",
]
