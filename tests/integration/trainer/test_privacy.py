"""Nothing of a person is in what services read, and a deleted user is gone from all that a training leaves."""

import gzip
from pathlib import Path

from click.testing import CliRunner

from tests.support.trained import tiny_reviews
from trainer.cli.commands import train
from trainer.pipeline import TrainingResult
from twotower.release import Release
from twotower.suppressions import suppress

DELETED_US = 4_000_000_000_000_000


def holding(word: str, *folders: Path) -> list[str]:
    """Files that have a word in their bytes, unpacked too."""
    found = []
    for folder in folders:
        for path in filter(Path.is_file, folder.rglob("*")):
            data = path.read_bytes()
            if word.encode() in data or (path.suffix == ".gz" and word.encode() in gzip.decompress(data)):
                found.append(str(path.relative_to(folder)))
    return found


def test_a_release_holds_no_users_and_no_texts_of_theirs(trained: TrainingResult) -> None:
    release, reviews = trained.release, trained.reviews
    data = {path.name: path.read_bytes() for path in release.path.rglob("*") if path.is_file()}
    catalogue = {product.name for product in release.catalogue}
    texts = {text for text in reviews.texts.distinct if len(text) > 20 and text not in catalogue}
    names = {
        name for name, hidden in zip(reviews.user_ids, reviews.anonymous, strict=True) if len(name) > 6 and not hidden
    }
    assert len(texts) > 50
    assert len(names) > 20
    for content in data.values():
        assert not [word for word in texts | names if word.encode() in content]
    rows = {row.tobytes() for row in release.golden.user_rows[2:]}
    states = trained.inputs.tables.users
    assert not rows & {states[state : state + 1].tobytes() for state in range(len(states))}
    assert len(rows) > 1
    assert not (release.path / "users").exists()
    lengths = [len(text.split()) for text in release.golden_texts[0]]
    assert (min(lengths), max(lengths)) == (1, 400)


def test_a_deleted_user_is_gone_from_releases_users_reports_cache_and_samples(
    encoder_path: Path, tmp_path: Path
) -> None:
    reviews = tiny_reviews(tmp_path / "reviews.csv.gz", 300)
    out, deleted = tmp_path / "work" / "releases", tmp_path / "deleted"

    def run(*more: str) -> None:
        command = ["--reviews", str(reviews), "--out", str(out), "--cache", str(tmp_path / "work" / "cache")]
        command += [
            "--encoder",
            str(encoder_path),
            "--epochs",
            "1",
            "--write-samples",
            str(tmp_path / "work" / "samples"),
        ]
        result = CliRunner().invoke(train, [*command, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output

    run()
    (path,) = (found.parent for found in out.glob("*/manifest.json"))
    users = list(Release.open(path).users.user_ids())
    name = next(user for user in users if len(user) > 8)
    assert holding(name, tmp_path / "work")
    assert not holding(name, out, tmp_path / "work" / "cache")
    suppress(deleted, name, DELETED_US)
    run("--suppressions", str(deleted))
    assert not holding(name, tmp_path / "work")
    releases = [found.parent for found in out.glob("*/manifest.json")]
    assert len(releases) == 2
    for each in releases:
        assert list(Release.open(each).users.user_ids()) == [user for user in users if user != name]
