"""Options of a recipe by name, and the file they are kept in."""

import json
from pathlib import Path

import pytest

from trainer.network.presets import PRESETS, preset_named
from trainer.pipeline import TrainingOptions
from trainer.tuning.search_space import hyperparameters_of, read_options, values_of, with_values
from twotower.errors import InvalidFile


@pytest.mark.parametrize("name", PRESETS)
def test_values_go_in_and_come_out(name: str) -> None:
    recipe = TrainingOptions(preset_named(name))
    values = {name: one.choices[0] if one.choices else one.high for name, one in hyperparameters_of(recipe).items()}
    changed = with_values(recipe, values)
    assert values_of(changed) == values
    assert with_values(changed, values_of(recipe)).preset.name == name
    assert ("negatives_alpha" in values) == (recipe.preset.negatives_alpha > 0)


def test_an_options_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text(json.dumps({"preset": "best", "options": {"steps": 12, "half_life_days": 3.5}, "ndcg@10": 0.4}))
    recipe = TrainingOptions(preset_named("best"))
    changed = read_options(file, recipe)
    assert (changed.listwise.steps, changed.listwise.half_life_days) == (12, 3.5)
    assert with_values(changed, {"steps": recipe.listwise.steps}).preset == recipe.preset
    assert changed.listwise.temperature == recipe.listwise.temperature


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "must be JSON"),
        ('{"options": {}}', "must be JSON"),
        ('{"preset": "v4", "options": {}}', "preset: must be v5_power, got 'v4'"),
        ('{"preset": "v5_power", "options": {"steps": 3}}', "steps: must be one of learning_rate"),
        ('{"preset": "v5_power", "options": {"epochs": 2.5}}', "epochs: must be a whole number above 0, got 2.5"),
        ('{"preset": "v5_power", "options": {"epochs": true}}', "epochs: must be a whole number above 0"),
        (
            '{"preset": "v5_power", "options": {"learning_rate": NaN}}',
            "learning_rate: must be a number above 0, got nan",
        ),
        (
            '{"preset": "v5_power", "options": {"tower_dropout": 1}}',
            "tower_dropout: must be a number from 0 to below 1",
        ),
        ('{"preset": "v5_power", "options": {"negatives_alpha": -1}}', "negatives_alpha: must be a number not below 0"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "best.json"
    file.write_text(content)
    with pytest.raises(InvalidFile, match=told):
        read_options(file, TrainingOptions(preset_named("v5_power")))
