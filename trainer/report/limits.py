"""What a release cannot do, in words: the same in the page and in the model card."""

from collections.abc import Mapping
from typing import Any

from trainer.network.presets import PRESETS

_ALL = (
    "It recommends products of its catalogue only; a product that appeared later is served from its text alone.",
    "Most users write one review. For a user without a history it knows nothing personal.",
    "Names that many people share are treated as one person, unless they are listed as anonymous.",
    "A review is read in English, and only its first 256 word pieces.",
    "A predicted rating is about products that people chose to buy and to review, not about those that they avoid.",
    "It was measured on public review sets. What shoppers click or buy may be another matter.",
)
_SAMPLED = (
    "Negatives are made up: a product that was not reviewed counts as disliked, with a random label from 0 to 2. MSE "
    "and MAE over them say how well made-up numbers are matched and nothing about recommendations."
)
_CANCELLED = (
    "It ranks below a plain list of popular products, in some runs near random. With negatives drawn in proportion "
    "to popularity (alpha 1.0) and squared error, a product with n reviews of mean r gets n labels of mean r and 3n "
    "labels of mean 1, so the expected label is (n·r + 3n·1) / 4n = (r + 3) / 4: n has gone. A product with 8,000 "
    "reviews looks much like one with 8, and popularity is the strongest signal there is for users without a "
    "history, the great majority. The preset is kept because it is the reference recipe; take `best` to recommend "
    "with."
)
_LIFT = (
    "Its score is personal lift plus the log of popularity. For a user without a history it is popularity, no better "
    "and no worse; the gain is with users who have one."
)


def findings(evaluation: Mapping[str, Any], preset: str) -> list[str]:
    """What an evaluation says against a preset: the methods that rank better than each of its rankings."""
    methods = evaluation["methods"]
    own = [name for name in methods if name == preset or name.startswith(f"{preset}, ")]
    others = [name for name in methods if name.split(", ")[0] not in PRESETS]
    sentences = []
    for name in own:
        for group, users in (
            ("all", "all users"),
            ("warm", "users with a history"),
            ("cold", "users without a history"),
        ):
            value = methods[name][group]["ndcg@10"]
            better = [
                other for other in others if value is not None and (methods[other][group]["ndcg@10"] or 0.0) > value
            ]
            if better:
                listed = ", ".join(f"{other} {methods[other][group]['ndcg@10']:.3f}" for other in better)
                sentences.append(f"For {users}, {name} (nDCG@10 {value:.3f}) is below {listed}.")
    return sentences


def limits_of(preset: str, scoring: Mapping[str, Any]) -> list[str]:
    """What a release cannot do, in sentences, the most important first."""
    own = [_LIFT] if scoring.get("kind") == "lift" else [_SAMPLED]
    return ([_CANCELLED] if preset in ("v5_power", "v6_power") else []) + own + list(_ALL)
