"""`python -m clients`: the client's commands alone, where the `twotower` command is not at hand."""

import click

from twotower.cli import DomainErrorGroup  # before anything that imports gRPC

# isort: split
from clients import cli


@click.group(cls=DomainErrorGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Call the services."""


for command in (cli.recommend, cli.similar, cli.review, cli.user, cli.product, cli.release):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="python -m clients")
