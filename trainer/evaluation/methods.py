"""What is compared: a method turns a period into scores of its test rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainer.evaluation.period import Period
from twotower.features import Float32


@dataclass(frozen=True)
class Scored:
    """What a method says of a period's test rows.

    Attributes:
        scores: (test rows, products).
        ratings: (test rows,) predicted stars of the product that was reviewed; None for a method that predicts none.
    """

    scores: Float32
    ratings: Float32 | None = None


@dataclass(frozen=True)
class Method:
    """Something that is compared.

    Attributes:
        name: as in the table.
        score: scores of a period's test rows.
        seeded: whether another seed gives another result.
        about: what it is, in a few words.
        live: whether it counts reviews of the test period as they arrive.
    """

    name: str
    score: Callable[[Period], Scored]
    seeded: bool = False
    about: str = ""
    live: bool = False


RANDOM: Final = "random"
DECAYED: Final = "popularity, decayed"
LIVE: Final = "popularity, live"
ITEM_MEAN: Final = "shrunk item mean"
BEST_PLAIN: Final = "best, plain"
BEST_STATIC: Final = "best, lift + decayed popularity"
BEST_LIVE: Final = "best, lift + live popularity"
