"""A deletion that was answered is on the list, whatever happens to the writer; a damaged list is never an empty one."""

import multiprocessing
import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twotower.errors import InvalidFile
from twotower.features import BERT_DIM
from twotower.release_users import UNDATED, USER_ARRAYS, ReleaseUsers
from twotower.suppressions import Suppressions, suppress
from twotower.users_writer import UsersWriter, forget_users, keep_newer, keep_newest


def test_who_was_deleted_is_found_with_the_latest_time(tmp_path: Path) -> None:
    path = tmp_path / "data" / "list.jsonl"
    for user, time in (("Ann", 5), ("Bö\n", 1_700_000_000_123_456), ("Ann", 7), ("Ann", 6)):
        suppress(path, user, time)
    found = Suppressions.read([path])
    assert [found.deleted_us(user) for user in ("Ann", "Bö\n", "ann", "Ann ", "")] == [
        7,
        1_700_000_000_123_456,
        None,
        None,
        None,
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"Ann" not in path.read_bytes()


def test_lists_of_two_services_have_salts_of_their_own_and_count_together(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    suppress(a, "Ann", 5)
    suppress(b, "Ann", 9)
    suppress(b, "Bob", 1)
    assert a.read_text().splitlines()[1].split('"user"')[1] != b.read_text().splitlines()[1].split('"user"')[1]
    both = Suppressions.read([a, b])
    assert (both.deleted_us("Ann"), both.deleted_us("Bob")) == (9, 1)


def _suppress_many(path: Path, first: int) -> None:
    for number in range(first, first + 50):
        suppress(path, f"user {number}", number)


def test_several_processes_add_to_one_list(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(_suppress_many, [(tmp_path / "list", first) for first in (0, 50, 100)])
    found = Suppressions.read([tmp_path / "list"])
    assert [found.deleted_us(f"user {number}") for number in range(150)] == list(range(150))


def test_what_a_killed_writer_left_of_a_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "list"
    suppress(path, "Ann", 5)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"deleted_at": "20')
    assert Suppressions.read([path]).deleted_us("Ann") == 5
    suppress(path, "Bob", 6)
    assert path.read_bytes().startswith(whole)
    assert (Suppressions.read([path]).deleted_us("Ann"), Suppressions.read([path]).deleted_us("Bob")) == (5, 6)


@pytest.mark.parametrize(
    "content", [b"x", b"x\n", b"{}\n", b'{"format_version": 2, "salt": "00"}\n', b"\xff\n", b'{"format_version": 1}\n']
)
def test_what_is_no_list_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match="must be a list of deleted users"):
        Suppressions.read([path])
    if content.endswith(b"\n"):
        with pytest.raises(InvalidFile, match="must be a list of deleted users"):
            suppress(path, "Ann", 1)
        assert path.read_bytes() == content


def test_a_damaged_line_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    suppress(path, "Ann", 5)
    path.write_bytes(path.read_bytes() + b'{"user": "00"}\n')
    with pytest.raises(InvalidFile, match="line 3"):
        Suppressions.read([path])
    with pytest.raises(InvalidFile, match="No such file"):
        Suppressions.read([tmp_path / "absent"])


def _fill(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, resource.RLIM_INFINITY))
    try:
        suppress(path, "Bob", 6)
    except OSError:
        return
    raise AssertionError("it was written")


def _fill_and_make_room(path: Path) -> None:
    """There is room again when what was written is taken back."""
    truncate = os.ftruncate

    def make_room(descriptor: int, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        truncate(descriptor, size)

    os.ftruncate = make_room
    _fill(path)


@pytest.mark.parametrize("fill", [_fill, _fill_and_make_room])
def test_a_full_disk_adds_nothing_and_loses_nothing(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    path = tmp_path / "list"
    suppress(path, "Ann", 5)
    before = path.read_bytes()
    process = multiprocessing.get_context("spawn").Process(target=fill, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert path.read_bytes() == before


def write_users(root: Path, release_id: str, times: dict[str, list[int]], created_at: str = "") -> Path:
    counts = [len(own) for own in times.values()]
    rng, total = np.random.default_rng(0), sum(counts)
    columns = {
        "review_offsets": np.cumsum([0, *counts]),
        "products": np.arange(total, dtype=np.int32),
        "ratings": np.full(total, 5, np.float32),
        "times_us": np.concatenate([np.array(own, np.int64) for own in times.values()]),
        "fixed_point": rng.integers(-9, 9, (total, BERT_DIM), np.int16),
        "als": rng.normal(size=(len(times), 64)).astype(np.float32),
    }
    with UsersWriter(root) as writer:
        writer.write(times, map(str, range(total)), {name: [columns[name]] for name in USER_ARRAYS})
        return writer.commit(release_id, created_at)


def test_deleted_users_are_taken_out_of_all_releases(tmp_path: Path) -> None:
    times = {"Ann": [1, 2], "Bob": [3], "Cy": [9, UNDATED], "Di": [20]}
    folders = [write_users(tmp_path / "users", name, times) for name in ("r-1", "r-2")]
    before = ReleaseUsers.open(folders[0], "r-1", 99)
    for user, time in (("Ann", 5), ("Cy", 1), ("Di", 10), ("Nobody", 99)):
        suppress(tmp_path / "list", user, time)
    assert forget_users(tmp_path / "users", Suppressions.read([tmp_path / "list"])) == 4
    for folder in folders:
        users = ReleaseUsers.open(folder, folder.name, 99)
        assert list(users.user_ids()) == ["Bob", "Di"]  # Di has come back since
        assert list(users.review_ids()) == ["2", "5"]
        assert users.times_us.tolist() == [3, 20]
        assert users.review_offsets.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(users.fixed_point, before.fixed_point[[2, 5]])
        np.testing.assert_array_equal(users.als, before.als[[1, 3]])
        assert b"Ann" not in b"".join(file.read_bytes() for file in folder.iterdir())
    assert forget_users(tmp_path / "users", Suppressions.read([tmp_path / "list"])) == 0


def test_old_users_are_removed(tmp_path: Path) -> None:
    for day in range(1, 6):
        write_users(tmp_path, f"r-{day}", {"Ann": [1]}, f"2026-01-0{day}T00:00:00+00:00")
    keep_newest(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r-2", "r-3", "r-4", "r-5"]
    keep_newer(tmp_path, "r-9")
    keep_newer(tmp_path, "r-3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r-4", "r-5"]
