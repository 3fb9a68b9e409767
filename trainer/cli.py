"""The trainer's sub-commands. Whatever is slow to import is imported when a command runs."""

from pathlib import Path

import click

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("sample-data")
@click.argument("file", type=_FILE)
@click.option("--reviews", default=6000, show_default=True, help="Rows to write.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same file.")
def sample_data(file: Path, reviews: int, seed: int) -> None:
    """Write SYNTHETIC reviews to FILE (.csv or .csv.gz), in the 25-column schema and the shape of real ones."""
    from trainer.sample import write_sample

    write_sample(file, reviews, seed)
    click.echo(f"{file}: {reviews:,} SYNTHETIC reviews (seed {seed}): made up by a program, for trying the system out, not for conclusions")
