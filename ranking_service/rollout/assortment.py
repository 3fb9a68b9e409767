"""What is on offer beside what a release was trained with: products that were added, and those that are withdrawn."""

from dataclasses import dataclass

from ranking_service.release.served import ServedRelease
from ranking_service.rollout.added_products import AddedProducts
from ranking_service.rollout.withdrawn_products import WithdrawnProducts


@dataclass(frozen=True)
class Assortment:
    """The added and the withdrawn products, each in a file beside the releases."""

    added: AddedProducts
    withdrawn: WithdrawnProducts

    def fit(self, served: ServedRelease) -> ServedRelease:
        """Return a release with the products that were added, and without those that are withdrawn."""
        return self.withdrawn.fit(self.added.fit(served))

    async def changed(self) -> bool:
        """Whether one of the files has changed since this was last asked."""
        # Both are asked, always: each remembers what it has read.
        return any([await self.added.changed(), await self.withdrawn.changed()])
