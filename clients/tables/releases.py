"""Releases on a terminal."""

from collections.abc import Sequence

from rich.text import Text

from clients.results import ReleaseInfo, ReleaseLabel, ShadowComparison, SpaceState
from clients.tables.terminal import count, fields_table, listing, plain
from twotower.terminal import Listing


def release_table(releases: Sequence[ReleaseInfo]) -> Listing:
    """Releases, newest first."""
    table = listing("Release", "Ranking", "Embedding", "Preset", "Products", "Written (UTC)")
    for info in releases:
        count_cell = f"{info.product_count:,}"
        cells = plain(info.release_id), _label(info), _held(info), plain(info.preset), count_cell, _written(info)
        table.add_row(*cells)
    return table


def release_fields(info: ReleaseInfo) -> Listing:
    """One release."""
    fields = {
        "Release": info.release_id,
        "Label": _label(info),
        "Embedding service": _held(info),
        "Preset": info.preset,
        "Products": f"{info.product_count:,}",
        "Written (UTC)": _written(info),
        "Encoder": info.space.encoder_id,
        "ALS factors": info.space.als_id,
    }
    return fields_table(fields)


def shadow_line(release_id: str, comparison: ShadowComparison) -> Text:
    """How the shadow compares with the stable release."""
    if not comparison.user_count:
        return plain(f"shadow {release_id}: no user compared yet")
    overlap, difference = comparison.rank_overlap_at_10, comparison.mean_score_difference
    users = count(comparison.user_count, "user")
    return plain(
        f"shadow {release_id}: {overlap:.1%} of the stable best 10 over {users}, scores differ by "
        f"{difference:.4f} on average"
    )


def _label(info: ReleaseInfo) -> str:
    if info.label is ReleaseLabel.CANARY:
        suffix = ", previous" if info.previous else ""
        return f"canary, {info.canary_share:.4g} of the users{suffix}"
    if info.label is ReleaseLabel.UNSPECIFIED:
        return "previous" if info.previous else "–"
    return f"{info.label.value}, previous" if info.previous else info.label.value


def _held(info: ReleaseInfo) -> str:
    """What the embedding service has of a release."""
    if info.space_state is None:
        return "no answer"
    if info.space_state is SpaceState.UNSPECIFIED:
        return "same space" if info.space_loaded else "–"
    return info.space_state.value


def _written(info: ReleaseInfo) -> str:
    return f"{info.create_time:%Y-%m-%d %H:%M}"
