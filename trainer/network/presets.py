"""The product family's recipes by name."""

from dataclasses import dataclass
from typing import Final, Literal

from twotower.errors import FieldViolation, InvalidArgument
from twotower.model import Activation


@dataclass(frozen=True)
class Preset:
    """One recipe.

    Attributes:
        name: as in ``--preset``.
        activation: of every layer but the last, which is linear.
        initializer: Keras name of the kernel initialiser.
        dropout: plain, or the alpha dropout that keeps selu self-normalising.
        tower_dropout: rate in the towers.
        fusion_dropout: rate in the fusion head.
        optimizer: by its name in Keras, in lower case.
        loss: ``mse`` on reviews and negatives, or ``listwise``: popularity by softmax over the products, and the lift
            of users with a history by squared error (:mod:`trainer.network.fit_lift`).
        negatives_alpha: exponent of popularity in the draw of negatives; 0 is uniform.
        with_is_anonymous: whether the network has the input ``is_anonymous_user``.
    """

    name: str
    activation: Activation
    initializer: str
    dropout: Literal["dropout", "alpha_dropout"] = "dropout"
    tower_dropout: float = 0.3
    fusion_dropout: float = 0.2
    optimizer: Literal["adam", "adamw", "nadam"] = "adam"
    loss: Literal["mse", "listwise"] = "mse"
    negatives_alpha: float = 0.0
    with_is_anonymous: bool = True

    @property
    def parameter_count(self) -> int:
        """Trainable parameters of the network."""
        return 322_817 if self.with_is_anonymous else 322_561


PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset("v1", "relu", "glorot_uniform", with_is_anonymous=False),
        Preset("v2", "relu", "glorot_uniform"),
        Preset("v3", "leaky_relu", "glorot_uniform"),
        Preset("v4", "elu", "he_normal"),
        Preset("v5_power", "elu", "he_normal", negatives_alpha=1.0),
        Preset(
            "v6_power",
            "selu",
            "lecun_normal",
            dropout="alpha_dropout",
            tower_dropout=0.1,
            fusion_dropout=0.1,
            optimizer="nadam",
            negatives_alpha=1.0,
        ),
        # The teacher never runs out of examples: there is nothing to guard against by dropout, and its noise would
        # drown the lift.
        Preset("best", "elu", "he_normal", tower_dropout=0.0, fusion_dropout=0.0, optimizer="adamw", loss="listwise"),
    )
}


def preset_named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InvalidArgument: there is none.
    """
    if name not in PRESETS:
        raise InvalidArgument([FieldViolation("--preset", f"must be one of {', '.join(PRESETS)}, got {name!r}")])
    return PRESETS[name]
