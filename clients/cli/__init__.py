"""The client's commands: `twotower recommend`, `similar`, `review`, `user`, `product` and `release`."""

from clients.cli.products import product
from clients.cli.ranking import recommend, similar
from clients.cli.releases import release
from clients.cli.reviews import review
from clients.cli.users import user

__all__ = ["product", "recommend", "release", "review", "similar", "user"]
