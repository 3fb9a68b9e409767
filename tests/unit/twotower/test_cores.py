"""Cores within a container's quota, from files as the kernel writes them."""

import os
from pathlib import Path

import pytest

from twotower.cores import usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, ALL),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, 1),
        ("0::/gone/on/the/host\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {}, ALL),
        ("", {}, ALL),
        ("4:memory:/a\n3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "9000", "cpu/a/cpu.cfs_period_us": "9000"}, 1),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALL),
    ],
)  # fmt: skip
def test_the_strictest_quota_bounds_the_cores(tmp_path: Path, groups: str, files: dict[str, str], quota: int) -> None:
    (tmp_path / "own").write_text(groups)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    assert usable_cores(tmp_path / "root", tmp_path / "own") == min(ALL, quota)


def test_this_machine_has_cores() -> None:
    assert 1 <= usable_cores() <= ALL
