"""`python -m trainer`: the trainer's commands alone, as its container runs them."""

import click

from trainer.cli import publish, sample_data, train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Turn a review file into a release, and publish it."""


for command in (train, publish, sample_data):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="python -m trainer")
