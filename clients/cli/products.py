"""`twotower product`."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from clients import tables
from clients.cli.options import asks
from clients.cli.output import show
from clients.recommender import TwotowerClient
from clients.results import Product, ProductPage, UpsertedProducts
from twotower.cli import json_option

_LARGEST_PAGE = 1000
_LARGEST_UPSERT = 256
_TEXTS = ("product_id", "name", "brand", "categories", "manufacturer")
_IGNORED = ("review_count", "mean_rating")


@click.group()
def product() -> None:
    """Show the catalogue and add to it."""


@product.command("list")
@click.option(
    "-n", "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(min=1), help="Products to list."
)
@json_option
@asks("ranking")
def list_products(*, limit: int, as_json: bool, client: TwotowerClient) -> None:
    """List products in catalogue order."""
    page, latency_ms = tables.timed(lambda: _first_products(client, limit))
    table, footer = tables.product_table(page.products), tables.answer_line(page.release_id, latency_ms)
    shown = f"{len(page.products):,} of {page.total_count:,} products"
    notes = [f"withdrawn: {', '.join(page.withdrawn_product_ids)}"] if page.withdrawn_product_ids else []
    show(page, table, shown, *notes, footer, as_json=as_json, latency_ms=latency_ms)


@product.command("show")
@click.argument("product_id", metavar="PRODUCT")
@json_option
@asks("ranking")
def show_product(*, product_id: str, as_json: bool, client: TwotowerClient) -> None:
    """Show one product."""
    details, latency_ms = tables.timed(lambda: client.get_product(product_id))
    table, footer = tables.product_fields(details.product), tables.answer_line(details.release_id, latency_ms)
    notes = [note for note, holds in (("upserted", details.added), ("withdrawn", details.withdrawn)) if holds]
    show(details, table, *notes, footer, as_json=as_json, latency_ms=latency_ms)


@product.command("upsert")
@click.option("--id", "product_id", metavar="PRODUCT", help="Id of the product.")
@click.option("--name", default="", help="Display name.")
@click.option("--brand", default="", help="Brand.")
@click.option("--categories", default="", help="Categories, separated by commas, the most general first.")
@click.option("--manufacturer", default="", help="Manufacturer.")
@click.option(
    "--file",
    type=click.File(encoding="utf-8"),
    help=f"Add many products: a file of JSON objects, one per line, with {', '.join(_TEXTS)}; - for stdin.",
)
@json_option
@asks("ranking")
def upsert_products(
    *,
    product_id: str | None,
    name: str,
    brand: str,
    categories: str,
    manufacturer: str,
    file: TextIO | None,
    as_json: bool,
    client: TwotowerClient,
) -> None:
    """Add a product, or change the texts of one.

    It can be recommended at once. With --file, products that were sent before an error stay added.
    """
    if (product_id is None) == (file is None):
        raise click.UsageError("give either --id, with --name, or --file")
    one = Product(product_id or "", name, brand, categories, manufacturer)
    products = read_products(file) if file else [one]
    answer, latency_ms = tables.timed(lambda: _upsert(client, products))
    summary = f"{answer.inserted_count:,} added, {answer.updated_count:,} updated"
    footer = tables.answer_line(answer.release_id, latency_ms)
    show(answer, summary, footer, as_json=as_json, latency_ms=latency_ms)


@product.command("added")
@click.option(
    "-n",
    "--limit",
    default=100,
    show_default=True,
    metavar="N",
    type=click.IntRange(1, _LARGEST_PAGE),
    help="Products to list.",
)
@json_option
@asks("ranking")
def list_added_products(*, limit: int, as_json: bool, client: TwotowerClient) -> None:
    """List the products that were upserted."""
    page, latency_ms = tables.timed(lambda: client.list_added_products(limit))
    table = tables.product_table([added.product for added in page.products])
    shown = f"{len(page.products):,} of {page.total_count:,} upserted products"
    footer = tables.answer_line(page.release_id, latency_ms)
    show(page, table, shown, footer, as_json=as_json, latency_ms=latency_ms)


@product.command("remove")
@click.argument("product_ids", metavar="PRODUCT...", nargs=-1, required=True)
@json_option
@asks("ranking")
def remove_products(*, product_ids: tuple[str, ...], as_json: bool, client: TwotowerClient) -> None:
    """Take upserted products back; one that the release has gets its own text again."""
    answer, latency_ms = tables.timed(lambda: client.remove_added_products(product_ids))
    footer = tables.answer_line(answer.release_id, latency_ms)
    show(answer, f"{answer.removed_count:,} removed", footer, as_json=as_json, latency_ms=latency_ms)


@product.command("withdraw")
@click.argument("product_ids", metavar="PRODUCT...", nargs=-1, required=True)
@json_option
@asks("ranking")
def withdraw_products(*, product_ids: tuple[str, ...], as_json: bool, client: TwotowerClient) -> None:
    """Withdraw products: no release recommends them until they are restored."""
    answer, latency_ms = tables.timed(lambda: client.withdraw_products(product_ids))
    summary = f"{answer.changed_count:,} withdrawn, {answer.withdrawn_count:,} in all"
    show(answer, summary, tables.answer_line(answer.release_id, latency_ms), as_json=as_json, latency_ms=latency_ms)


@product.command("restore")
@click.argument("product_ids", metavar="PRODUCT...", nargs=-1, required=True)
@json_option
@asks("ranking")
def restore_products(*, product_ids: tuple[str, ...], as_json: bool, client: TwotowerClient) -> None:
    """Bring withdrawn products back."""
    answer, latency_ms = tables.timed(lambda: client.restore_products(product_ids))
    summary = f"{answer.changed_count:,} restored, {answer.withdrawn_count:,} still withdrawn"
    show(answer, summary, tables.answer_line(answer.release_id, latency_ms), as_json=as_json, latency_ms=latency_ms)


def read_products(lines: TextIO) -> list[Product]:
    """Read products from a file with a JSON object per line, such as those of `product list --json`.

    Raises:
        click.ClickException: naming the line and what is wrong with it.
    """
    name = Path(lines.name).name
    try:
        products = [
            _read_product(line, f"{name}:{number}") for number, line in enumerate(lines, start=1) if line.strip()
        ]
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{name}: not UTF-8: {error}") from error
    if not products:
        raise click.ClickException(f"{name}: no products")
    return products


def _read_product(line: str, where: str) -> Product:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise click.ClickException(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise click.ClickException(f"{where}: must be a JSON object")
    if unknown := fields.keys() - {*_TEXTS, *_IGNORED}:
        raise click.ClickException(f"{where}: unknown field {min(unknown)!r}")
    for name in ("product_id", "name"):
        if name not in fields:
            raise click.ClickException(f"{where}: {name}: missing")
    texts = {name: fields[name] for name in _TEXTS if name in fields}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise click.ClickException(f"{where}: {name}: must be a text")
    return Product(**texts)


def _upsert(client: TwotowerClient, products: Sequence[Product]) -> UpsertedProducts:
    inserted = updated = 0
    for start in range(0, len(products), _LARGEST_UPSERT):
        answer = client.upsert_products(products[start : start + _LARGEST_UPSERT])
        inserted += answer.inserted_count
        updated += answer.updated_count
    return UpsertedProducts(answer.release_id, inserted, updated)


def _first_products(client: TwotowerClient, limit: int) -> ProductPage:
    products: list[Product] = []
    withdrawn: list[str] = []
    token = ""
    while True:
        page = client.list_products(min(limit - len(products), _LARGEST_PAGE), token)
        products += page.products
        withdrawn += page.withdrawn_product_ids
        token = page.next_page_token
        if not token or len(products) >= limit:
            return dataclasses.replace(page, products=tuple(products), withdrawn_product_ids=tuple(withdrawn))
