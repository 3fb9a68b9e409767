"""The vector cache: nothing is encoded twice, and a killed run loses nothing that was finished."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.reviews import text_vector
from trainer.encoding.cache import VectorCache, encode_unique
from twotower.encoder import Encoded


class CountingEncoder:
    """Gives made-up vectors and remembers what it was asked."""

    def __init__(self, encoder_id: str = "e1", fail_after: int | None = None) -> None:
        self.encoder_id = encoder_id
        self.asked: list[str] = []
        self._fail_after = fail_after

    def encode(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Encoded:
        if self._fail_after is not None and len(self.asked) >= self._fail_after:
            raise KeyboardInterrupt
        self.asked += texts
        (on_progress or (lambda _: None))(len(texts))
        return Encoded(np.array([text_vector(text) for text in texts]), (1,) * len(texts), (False,) * len(texts))


def expected(texts: list[str]) -> np.ndarray:
    return np.array([text_vector(text) for text in texts])


def run(texts: list[str], encoder: CountingEncoder, folder: Path) -> tuple[np.ndarray, int]:
    done: list[int] = []
    return encode_unique(texts, encoder, VectorCache(folder), done.append), sum(done)


TEXTS = [f"text {n} " + "long " * (n % 40) for n in range(700)]


def test_a_second_run_encodes_nothing_and_an_appended_one_only_what_is_new(tmp_path: Path) -> None:
    first, second, third = CountingEncoder(), CountingEncoder(), CountingEncoder()
    for encoder, texts in ((first, TEXTS), (second, TEXTS[::-1]), (third, [*TEXTS, "new"])):
        vectors, done = run(texts, encoder, tmp_path)
        np.testing.assert_array_equal(vectors, expected(texts))
        assert done == len(texts)
    assert sorted(first.asked) == sorted(TEXTS)
    assert second.asked == []
    assert third.asked == ["new"]


def test_long_texts_come_first(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    run(TEXTS, encoder, tmp_path)
    lengths = [len(text) for text in encoder.asked]
    assert lengths == sorted(lengths, reverse=True)


def test_an_interrupted_run_is_continued(tmp_path: Path) -> None:
    broken, again = CountingEncoder(fail_after=300), CountingEncoder()
    with pytest.raises(KeyboardInterrupt):
        run(TEXTS, broken, tmp_path)
    vectors, _ = run(TEXTS, again, tmp_path)
    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert set(broken.asked).isdisjoint(again.asked)
    assert len(broken.asked) + len(again.asked) == len(TEXTS)


def test_a_killed_writer_leaves_what_it_had_committed(tmp_path: Path) -> None:
    script = (
        "import os, sys, numpy as np; from pathlib import Path; from trainer.encoding.cache import VectorCache\n"
        "cache = VectorCache(Path(sys.argv[1]))\n"
        "cache.put([b'a' * 32], np.full((1, 384), 7, np.int16))\n"
        "connection = __import__('sqlite3').connect(cache._path)\n"
        "connection.execute('INSERT INTO vectors VALUES (?, ?)', (b'b' * 32, b'half'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    vectors = np.zeros((2, 384), np.int16)
    missing = VectorCache(tmp_path).get([b"a" * 32, b"b" * 32], vectors)
    assert missing.tolist() == [1]
    assert set(vectors[0].tolist()) == {7}


def test_another_encoder_shares_no_vector(tmp_path: Path) -> None:
    run(TEXTS[:5], CountingEncoder("e1"), tmp_path)
    other = CountingEncoder("e2")
    run(TEXTS[:5], other, tmp_path)
    assert len(other.asked) == 5


def test_no_texts_are_no_vectors(tmp_path: Path) -> None:
    vectors, done = run([], CountingEncoder(), tmp_path)
    assert vectors.shape == (0, 384)
    assert done == 0
