"""Options of a recipe by name: what is searched, what ``best.json`` holds, and what ``--options`` takes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from trainer.pipeline import TrainingOptions
from twotower.errors import FieldViolation, InvalidFile

Part = Literal["fit", "listwise", "preset"]
Value = int | float


@dataclass(frozen=True)
class Hyperparameter:
    """One option of a recipe, and where it is searched.

    Attributes:
        part: which part of :class:`~trainer.pipeline.TrainingOptions` has it.
        low: lowest value that is searched.
        high: highest value that is searched.
        log: whether the scale is logarithmic.
        choices: values that are searched instead of a range, where steps between make no difference.
    """

    part: Part
    low: Value
    high: Value
    log: bool = False
    choices: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return isinstance(self.low, int)

    def number(self, value: Value) -> Value:
        """A value as a number of the right kind."""
        return int(value) if self.whole else float(value)


_DROPOUTS: Final = {
    "tower_dropout": Hyperparameter("preset", 0.0, 0.5),
    "fusion_dropout": Hyperparameter("preset", 0.0, 0.5),
}
_SAMPLED: Final = {
    "learning_rate": Hyperparameter("fit", 2e-4, 1e-2, log=True),
    "epochs": Hyperparameter("fit", 1, 15),
    "batch_size": Hyperparameter("fit", 256, 4096, choices=(256, 512, 1024, 2048, 4096)),
    **_DROPOUTS,
}
_POWER: Final = {"negatives_alpha": Hyperparameter("preset", 0.0, 1.0)}
_LISTWISE: Final = {
    "learning_rate": Hyperparameter("listwise", 3e-4, 1e-2, log=True),
    "steps": Hyperparameter("listwise", 100, 800, log=True),
    "contexts": Hyperparameter("listwise", 48, 192, choices=(48, 96, 192)),
    "temperature": Hyperparameter("listwise", 0.03, 0.5, log=True),
    "half_life_days": Hyperparameter("listwise", 1.0, 365.0, log=True),
    **_DROPOUTS,
}


def hyperparameters_of(options: TrainingOptions) -> dict[str, Hyperparameter]:
    """List the options of a recipe that can be searched, by name."""
    preset = options.preset
    if preset.loss == "listwise":
        return _LISTWISE
    return _SAMPLED | (_POWER if preset.negatives_alpha else {})


def values_of(options: TrainingOptions) -> dict[str, Value | None]:
    """Read the values of a recipe's hyperparameters; None for one that is fitted on the data."""
    return {
        name: getattr(getattr(options, hyperparameter.part), name)
        for name, hyperparameter in hyperparameters_of(options).items()
    }


def with_values(options: TrainingOptions, values: Mapping[str, Value | None]) -> TrainingOptions:
    """Give a recipe other values of its hyperparameters; None leaves one as it is."""
    for name, hyperparameter in hyperparameters_of(options).items():
        if (value := values.get(name)) is not None:
            part = replace(getattr(options, hyperparameter.part), **{name: value})
            options = replace(options, **{hyperparameter.part: part})
    return options


def read_options(path: Path, options: TrainingOptions) -> TrainingOptions:
    """Give a recipe the values of an options file, ``{"preset": …, "options": {name: value}}``.

    Raises:
        InvalidFile: not such a file, for another preset, an option that the preset does not have, or a value of the
            wrong kind.
    """
    preset, values = _read(path)
    if preset != options.preset.name:
        raise InvalidFile(path, [FieldViolation("preset", f"must be {options.preset.name}, got {preset!r}")])
    if problems := _problems(values, hyperparameters_of(options)):
        raise InvalidFile(path, problems)
    return with_values(options, values)


def preset_in(path: Path) -> str:
    """Name of the preset that an options file is for."""
    return _read(path)[0]


def _read(path: Path) -> tuple[str, dict[str, Value]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["preset"], dict(content["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidFile(
            path, [FieldViolation("file", 'must be JSON with "preset" and "options", as `twotower tune` writes it')]
        ) from error


def _problems(values: Mapping[str, object], hyperparameters: Mapping[str, Hyperparameter]) -> list[FieldViolation]:
    problems = []
    for name, value in values.items():
        if name not in hyperparameters:
            problems.append(FieldViolation(name, f"must be one of {', '.join(hyperparameters)}"))
        elif (
            isinstance(value, bool)
            or not isinstance(value, int if hyperparameters[name].whole else int | float)
            or not _possible(name, value)
        ):
            problems.append(FieldViolation(name, f"must be {_rule(name, hyperparameters[name])}, got {value!r}"))
    return problems


def _possible(name: str, value: int | float) -> bool:
    return 0 <= value < 1 if name.endswith("dropout") else value >= 0 if name == "negatives_alpha" else value > 0


def _rule(name: str, hyperparameter: Hyperparameter) -> str:
    if name.endswith("dropout"):
        return "a number from 0 to below 1"
    sign = "not below 0" if name == "negatives_alpha" else "above 0"
    return f"a {'whole ' if hyperparameter.whole else ''}number {sign}"
