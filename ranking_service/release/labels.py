"""Which release has which label, and the files beside the releases that say so."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Final

from ranking_service.release.registry import Registry

POINTER: Final = "stable"
"""Holds the id of the release that answers."""
LABELS: Final = "labels.json"
"""Holds the other labels."""


@dataclass(frozen=True)
class Labels:
    """Release ids by label; "" where none has it.

    Attributes:
        stable: the release that answers.
        previous: the release that was stable before; Rollback goes back to it.
        canary: the release that answers a share of the users.
        canary_share: that share, 0–1.
        shadow: the release that is scored and compared, and answers nobody.
    """

    stable: str = ""
    previous: str = ""
    canary: str = ""
    canary_share: float = 0.0
    shadow: str = ""

    @property
    def in_use(self) -> list[str]:
        """The ids of the releases to keep in memory, stable first, each once."""
        return list(dict.fromkeys(filter(None, (self.stable, self.canary, self.shadow))))

    def with_stable(self, release_id: str) -> "Labels":
        """Return labels by which the release answers; it loses any other label."""
        cleared = self.without(release_id)
        if release_id == self.stable:
            return cleared
        return replace(cleared, stable=release_id, previous=self.stable)

    def with_canary(self, release_id: str, share: float) -> "Labels":
        """Return labels by which the release answers a share of the users."""
        return replace(self.without(release_id), canary=release_id, canary_share=share)

    def with_shadow(self, release_id: str) -> "Labels":
        """Return labels by which the release is compared."""
        return replace(self.without(release_id), shadow=release_id)

    def without(self, release_id: str) -> "Labels":
        """Return labels by which the release is neither canary nor shadow."""
        labels = self
        if labels.canary == release_id:
            labels = replace(labels, canary="", canary_share=0.0)
        return replace(labels, shadow="") if labels.shadow == release_id else labels

    def is_canary_user(self, user_id: str) -> bool:
        """Whether the canary answers this user: the same users stay with it as the share grows."""
        if not self.canary:
            return False
        digest = hashlib.blake2b(user_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.canary_share * 2**64


def read_labels(registry: Registry) -> Labels:
    """Read both files; unreadable labels count as none.

    Both can't be replaced at once, so the file of labels names the stable release that it goes with, and the labels
    before. If the pointer still names the one before, the writer did not get further, and those hold.
    """
    pointer = registry.read(POINTER)
    stable = pointer.decode(errors="replace").strip() if pointer else ""
    try:
        others = json.loads(registry.read(LABELS) or b"{}")
        before = others.get("before") or {}
        if others.get("stable", stable) != stable and before.get("stable") == stable:
            others = before
        return Labels(
            stable=stable,
            previous=str(others.get("previous", "")),
            canary=str(others.get("canary", "")),
            canary_share=float(others.get("canary_share", 0.0)),
            shadow=str(others.get("shadow", "")),
        )
    except (ValueError, AttributeError, TypeError):
        return Labels(stable)


def write_labels(registry: Registry, labels: Labels) -> None:
    """Write both files under their lock, the pointer last.

    Raises:
        ReleaseInvalid: naming the file that cannot be written.
    """
    with registry.locked(LABELS):
        content = {**asdict(labels), "before": asdict(read_labels(registry))}
        registry.write(LABELS, (json.dumps(content, sort_keys=True) + "\n").encode())
        registry.write(POINTER, f"{labels.stable}\n".encode())
