"""The table of `twotower release list`: what each service holds, and which release is the previous one."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from clients.results import EmbeddingSpace, ReleaseInfo, ReleaseLabel, SpaceState
from clients.tables import release_table

SPACE = EmbeddingSpace("encoder", "als")


def info(
    name: str,
    label: ReleaseLabel = ReleaseLabel.UNSPECIFIED,
    state: SpaceState | None = SpaceState.UNSPECIFIED,
    *,
    share: float = 0.0,
    previous: bool = False,
    loaded: bool | None = False,
) -> ReleaseInfo:
    written = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return ReleaseInfo(name, "best", written, 12_345, SPACE, label, share, None, previous, state, loaded)


RELEASES = [
    info("best-000000000007", ReleaseLabel.CANARY, SpaceState.PREPARED, share=0.05, loaded=True),
    info("best-000000000006", ReleaseLabel.STABLE, SpaceState.ACTIVE, loaded=True),
    info("best-000000000005", previous=True, state=SpaceState.PREVIOUS, loaded=True),
    info("best-000000000004", ReleaseLabel.SHADOW, loaded=True),
    info("best-000000000003"),
    info("best-000000000002", state=None, loaded=None),
]
EXPECTED = {
    "best-000000000007": ("canary, 0.05 of the users", "prepared"),
    "best-000000000006": ("stable", "active"),
    "best-000000000005": ("previous", "previous"),
    "best-000000000004": ("shadow", "same space"),
    "best-000000000003": ("–", "–"),
    "best-000000000002": ("–", "no answer"),
}


def shown(width: int) -> list[str]:
    """What a terminal of this width shows."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, no_color=True, color_system=None).print(release_table(RELEASES))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_each_service_holds(width: int) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    # A cell may be wrapped and the table folded: all lines of a release, side by side.
    cells: dict[str, str] = {}
    release = ""
    for line in lines:
        release = next((name for name in EXPECTED if line.startswith(name)), release if line.startswith(" ") else "")
        cells[release] = f"{cells.get(release, '')} {line.removeprefix(release)}"
    for name, (ranking, embedding) in EXPECTED.items():
        words = cells[name].split()
        for word in (*ranking.replace(",", "").split(), *embedding.split(), "best", "12,345", "2026-01-02"):
            assert word in [found.rstrip(",") for found in words], (name, word, lines)


def test_at_80_columns_a_release_is_one_row_and_nothing_is_folded() -> None:
    header, *rows = shown(80)
    assert header.split() == ["Release", "Ranking", "Embedding", "Preset", "Products", "Written", "(UTC)"]
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == list(EXPECTED)
    previous = next(row for row in rows if row.startswith("best-000000000005"))
    assert previous.split()[1:3] == ["previous", "previous"]
