"""The commands and their options."""

from trainer.cli.commands import train
from trainer.network.presets import PRESETS


def test_the_command_offers_every_preset() -> None:
    (option,) = (parameter for parameter in train.params if parameter.name == "preset")
    assert list(option.type.choices) == list(PRESETS)  # type: ignore[attr-defined]
