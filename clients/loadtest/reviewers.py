"""The users of a load test's own, who write its reviews and are forgotten at its end.

They review products that are in no catalogue, so no real product's live popularity changes, even if the load test is
killed before it could forget them.
"""

import random
import time
from typing import Final, Protocol
from uuid import uuid4

from clients.errors import TwotowerError
from clients.results import DeletedUser, RecordedReview

PREFIX: Final = "loadtest-"
USERS: Final = 1000
PRODUCTS: Final = 20
_PASSES: Final = 10
_PAUSE_S: Final = 0.2


class Client(Protocol):
    """What records reviews and forgets users: :class:`clients.TwotowerClient`."""

    def record_review(self, user_id: str, product_id: str, rating: float, *, text: str) -> RecordedReview:
        """Record one review."""

    def delete_user(self, user_id: str) -> DeletedUser:
        """Forget a user."""


class Reviewers:
    """Users whose names no other load test has."""

    def __init__(self) -> None:
        self._name = f"{PREFIX}{uuid4().hex[:8]}"
        self._wrote: set[str] = set()

    def review(self, client: Client) -> None:
        """Record a review; its text is new, so that no cache has it."""
        user_id = f"{self._name}-{random.randrange(USERS)}"
        product_id = f"{PREFIX}product-{random.randrange(PRODUCTS)}"
        numbers = " ".join(map(str, random.sample(range(10_000), 12)))
        self._wrote.add(user_id)  # before the call: its answer may be lost
        client.record_review(user_id, product_id, random.randint(1, 5), text=f"Bought for the load test, {numbers}.")

    def forget(self, client: Client) -> str:
        """Delete all who wrote; "" if nobody did.

        A review that was on its way when the test ended may arrive after its writer was deleted, so they are deleted
        until nobody is left.

        Returns:
            What was done, for people.
        """
        if not self._wrote:
            return ""
        left, why = self._wrote, ""
        for number in range(_PASSES):
            if number:
                time.sleep(_PAUSE_S)
            try:
                left = {user_id for user_id in left if client.delete_user(user_id).deleted}
            except TwotowerError as error:
                why = f" ({error})"
            if not left:
                count, self._wrote = len(self._wrote), set()
                return f"deleted the {count:,} users {self._name}-… of this load test, with their reviews"
        names = f"{self._name}-0 to -{USERS - 1}"
        return f"up to {len(left):,} users of this load test are left, among {names}: `twotower user delete` them{why}"
