"""State of the servers that answer the API from memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from twotower.v1 import release_service_pb2, types_pb2

RELEASE_ID = "v5_power-0123456789ab"
OTHER_RELEASE_ID = "best-ba9876543210"


@dataclass
class Memory:
    """State of the servers, shared with the test.

    Attributes:
        products: the catalogue, in order; a product's score is its place from the end.
        reviews: user → review id → review.
        recorded: every review that ever arrived.
        added: ids of upserted products.
        withdrawn: ids of withdrawn products.
        attempts: calls that arrived, by method name.
        failures: method name → errors that its next calls end with.
        degraded: answer as if the embedding service were away.
        requests: the last request, by method name.
        canary_users: users that the canary answers.
        labels: release id → label.
        canary_share: of the canary.
        stable_before: the release that was stable before; "" if none.
    """

    products: list[types_pb2.Product] = field(default_factory=list)
    reviews: dict[str, dict[str, types_pb2.Review]] = field(default_factory=dict)
    recorded: list[types_pb2.Review] = field(default_factory=list)
    added: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    attempts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    degraded: bool = False
    requests: dict[str, Any] = field(default_factory=dict)
    canary_users: set[str] = field(default_factory=set)
    labels: dict[str, Any] = field(default_factory=lambda: {RELEASE_ID: release_service_pb2.RELEASE_LABEL_STABLE})
    canary_share: float = 0.0
    stable_before: str = ""

    def arrive(self, method: str, request: Any) -> None:
        """Note a call and raise the error that is planned for it."""
        self.attempts[method] += 1
        self.requests[method] = request
        if planned := self.failures.get(method):
            raise planned.pop(0)

    def kind(self, user_id: str) -> types_pb2.UserKind:
        """Anonymous by name, warm with a review."""
        if user_id == "Anonymous":
            return types_pb2.USER_KIND_ANONYMOUS
        return types_pb2.USER_KIND_WARM if self.reviews.get(user_id) and not self.degraded else types_pb2.USER_KIND_COLD


def catalogue(count: int) -> list[types_pb2.Product]:
    """Products p0, p1, …"""
    return [
        types_pb2.Product(
            product_id=f"p{i}",
            name=f"Product {i}",
            brand="Acme",
            categories="Audio",
            manufacturer="Acme",
            review_count=i,
        )
        for i in range(count)
    ]
