"""Calls of the ranking service."""

from collections.abc import Sequence
from typing import Unpack

from clients import decoding, results
from clients.calls.fields import duration, flag, instances, text, texts, uint32
from clients.calls.methods import Call
from clients.calls.options import BatchOptions, RecommendOptions, option_fields
from twotower.v1 import ranking_service_pb2, types_pb2


def recommend(
    user_id: str, k: int, *, paginate: bool = False, page_token: str = "", **options: Unpack[RecommendOptions]
) -> Call[results.Recommendations]:
    """The best k products for one user.

    Args:
        user_id: the user.
        k: products wanted.
        paginate: answer with a token for the next page.
        page_token: from the answer before, for the k after it; implies `paginate`.
        options: those of :class:`clients.calls.options.RecommendOptions`.

    Raises:
        InvalidArgument: the request can't carry a value.
    """
    request = ranking_service_pb2.RecommendRequest(
        user_id=text(user_id, "user_id"),
        k=uint32(k, "k"),
        page_token=text(page_token, "page_token"),
        paginate=flag(paginate, "paginate") or bool(page_token),
        **option_fields(options, RecommendOptions.__annotations__),
    )
    return Call(request, decoding.recommendations)


def batch_recommend(
    user_ids: Sequence[str], k: int, **options: Unpack[BatchOptions]
) -> Call[results.BatchRecommendations]:
    """The best k products for each of many users; options as :class:`clients.calls.options.BatchOptions`."""
    request = ranking_service_pb2.BatchRecommendRequest(
        user_ids=texts(user_ids, "user_ids"), k=uint32(k, "k"), **option_fields(options, BatchOptions.__annotations__)
    )
    return Call(request, decoding.batch_recommendations)


def predict_ratings(
    user_id: str, product_ids: Sequence[str], *, max_staleness_s: float | None = None
) -> Call[results.Recommendations]:
    """Scores and predicted ratings of given products."""
    request = ranking_service_pb2.PredictRatingsRequest(
        user_id=text(user_id, "user_id"),
        product_ids=texts(product_ids, "product_ids"),
        max_staleness=duration(max_staleness_s, "max_staleness"),
    )
    return Call(request, decoding.predictions)


def similar_products(product_id: str, k: int) -> Call[results.SimilarProducts]:
    """The products whose towers are nearest to a product's."""
    request = ranking_service_pb2.SimilarProductsRequest(product_id=text(product_id, "product_id"), k=uint32(k, "k"))
    return Call(request, decoding.similar_products)


def get_product(product_id: str) -> Call[results.ProductDetails]:
    """One product of the catalogue."""
    request = ranking_service_pb2.GetProductRequest(product_id=text(product_id, "product_id"))
    return Call(request, decoding.product_details)


def list_products(page_size: int, page_token: str) -> Call[results.ProductPage]:
    """A page of the catalogue."""
    request = ranking_service_pb2.ListProductsRequest(
        page_size=uint32(page_size, "page_size"), page_token=text(page_token, "page_token")
    )
    return Call(request, decoding.product_page)


def upsert_products(products: Sequence[results.Product]) -> Call[results.UpsertedProducts]:
    """Add products, or change the texts of those that the release has."""
    products = instances(products, results.Product, "products")
    messages = [_product(product, f"products[{index}]") for index, product in enumerate(products)]
    request = ranking_service_pb2.UpsertProductsRequest(products=messages)
    return Call(request, decoding.upserted_products)


def list_added_products(page_size: int, page_token: str) -> Call[results.AddedProductPage]:
    """A page of the upserted products."""
    request = ranking_service_pb2.ListAddedProductsRequest(
        page_size=uint32(page_size, "page_size"), page_token=text(page_token, "page_token")
    )
    return Call(request, decoding.added_product_page)


def remove_added_products(product_ids: Sequence[str]) -> Call[results.RemovedProducts]:
    """Take upserted products back."""
    request = ranking_service_pb2.RemoveAddedProductsRequest(product_ids=texts(product_ids, "product_ids"))
    return Call(request, decoding.removed_products)


def withdraw_products(product_ids: Sequence[str], *, restore: bool) -> Call[results.WithdrawnProducts]:
    """Withdraw products, or bring them back."""
    ids = texts(product_ids, "product_ids")
    return Call(
        ranking_service_pb2.WithdrawProductsRequest(product_ids=ids, restore=restore), decoding.withdrawn_products
    )


def _product(product: results.Product, field: str) -> types_pb2.Product:
    return types_pb2.Product(
        product_id=text(product.product_id, f"{field}.product_id"),
        name=text(product.name, f"{field}.name"),
        brand=text(product.brand, f"{field}.brand"),
        categories=text(product.categories, f"{field}.categories"),
        manufacturer=text(product.manufacturer, f"{field}.manufacturer"),
    )
