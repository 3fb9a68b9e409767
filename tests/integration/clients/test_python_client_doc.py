"""The examples of docs/how-to/python-client.md run as they stand."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients import ProductFilter, TwotowerClient
from tests.integration.clients.conftest import Run
from tests.support.memory_api import OTHER_RELEASE_ID, MemoryServer, memory_server

DOCUMENT = (Path(__file__).parents[3] / "docs" / "how-to" / "python-client.md").read_text(encoding="utf-8")
PLACES = {"Maria": "Maria", "ID": "p1", "REVIEW": "r1", "RELEASE": OTHER_RELEASE_ID}


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    """A catalogue as large as the examples want it."""
    with memory_server(40) as running:
        yield running


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


async def test_python_examples(server: MemoryServer) -> None:
    source = "\n".join(["import asyncio", "from clients import AsyncTwotowerClient", *blocks("python")])
    source = re.sub(r'"127\.0\.0\.1:\d+"', f'"{server.address}"', source)
    source = source.replace("AsyncTwotowerClient()", f"AsyncTwotowerClient(**{server.addresses})")
    # The first example closes its client; those after it stand for code that holds one open.
    opened, rest = source.split("from clients import ProductFilter")
    shown: list[object] = []
    with TwotowerClient(**server.addresses) as client:
        scope: dict[str, Any] = {
            "users": ["Ann", "Bo"],
            "in_cart": ["p1"],
            "rules": ProductFilter(),
            "show": shown.append,
            "release_id": OTHER_RELEASE_ID,
        }
        await execute(opened, scope)
        client.load_release(OTHER_RELEASE_ID)  # so that there is something to roll back to
        await execute("from clients import ProductFilter" + rest, scope | {"client": client})
    assert len(scope["users"]) == len(server.memory.requests["BatchRecordReviews"].reviews)
    assert shown


async def execute(source: str, scope: dict[str, object]) -> None:
    result = eval(compile(source, "python-client.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), scope)
    if inspect.isawaitable(result):
        await result


def shell_commands() -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    return [[PLACES.get(word, word) for word in words[1:]] for words in lines if words and words[0] == "twotower"]


def test_shell_examples(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "products.jsonl").write_text('{"product_id": "p3", "name": "Renamed"}\n')
    monkeypatch.chdir(tmp_path)
    commands = shell_commands()
    assert len(commands) > 10
    for command in commands:
        result = run(*command, stdin="y\n")
        assert result.exit_code == 0, (command, result.stderr)
