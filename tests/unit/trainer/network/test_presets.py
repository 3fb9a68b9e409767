"""The recipes, as documented."""

import pytest

from trainer.network.presets import PRESETS, preset_named
from twotower.errors import InvalidArgument


def test_presets_are_as_tabled() -> None:
    found = {p.name: (p.activation, p.initializer, p.dropout, p.optimizer, p.negatives_alpha) for p in PRESETS.values()}
    assert found == {
        "v1": ("relu", "glorot_uniform", "dropout", "adam", 0.0),
        "v2": ("relu", "glorot_uniform", "dropout", "adam", 0.0),
        "v3": ("leaky_relu", "glorot_uniform", "dropout", "adam", 0.0),
        "v4": ("elu", "he_normal", "dropout", "adam", 0.0),
        "v5_power": ("elu", "he_normal", "dropout", "adam", 1.0),
        "v6_power": ("selu", "lecun_normal", "alpha_dropout", "nadam", 1.0),
        "best": ("elu", "he_normal", "dropout", "adamw", 0.0),
    }
    for preset in PRESETS.values():
        assert preset.with_is_anonymous == (preset.name != "v1")
        expected = {"v6_power": (0.1, 0.1), "best": (0.0, 0.0)}.get(preset.name, (0.3, 0.2))
        assert (preset.tower_dropout, preset.fusion_dropout) == expected


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match=r"--preset: must be one of v1, .* got 'v9'"):
        preset_named("v9")
