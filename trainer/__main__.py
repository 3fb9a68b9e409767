"""`python -m trainer`: the trainer's commands alone, as its container runs them."""

import click

from twotower.cli import DomainErrorGroup  # before anything that imports gRPC

# isort: split
from trainer.cli.commands import describe, evaluate, import_keras, publish, sample_data, train
from trainer.cli.tune import tune


@click.group(cls=DomainErrorGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Turn a review file into a release, and publish it."""


for command in (describe, evaluate, import_keras, publish, sample_data, train, tune):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="python -m trainer")
