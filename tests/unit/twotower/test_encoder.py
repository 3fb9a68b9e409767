"""The encoder: faithful to sentence-transformers, and the same text always gives the same int16 vector."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twotower.encoder import TextEncoder, encoder_id
from twotower.errors import ReleaseInvalid

TEXTS = [
    "Great soap Smells like lavender and lasts for weeks.",
    "No Title No Review",
    "Broken on arrival The lid was cracked and half of it had leaked into the box. " * 4,
    "ok",
    "Ünïcödé – très bien 🙂 非常好",
    "word " * 600,
    "Lundberg Organic Cinnamon Toast Rice Cakes Lundberg Food,Packaged Foods,Snacks",
]


@pytest.fixture(scope="module")
def encoder(encoder_path: Path) -> TextEncoder:
    return TextEncoder(encoder_path, threads=2)


@pytest.fixture(scope="module")
def alone(encoder: TextEncoder) -> dict[str, np.ndarray]:
    return {text: encoder.encode([text]).fixed_point[0] for text in TEXTS}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.sampled_from(TEXTS), max_size=12))
def test_a_vector_does_not_depend_on_its_batch_mates(
    batch: list[str], encoder: TextEncoder, alone: dict[str, np.ndarray]
) -> None:
    encoded = encoder.encode(batch)
    assert encoded.fixed_point.shape == (len(batch), 384)
    assert all(np.array_equal(row, alone[text]) for row, text in zip(encoded.fixed_point, batch, strict=True))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(
                ["soap ", "好", "!", " ", "a", "\t\n", "e\u0301", "\u0301", "\0", "ﬁ ", "🙂", "anti", "#", "ß"]
            ),
            st.integers(1, 3000),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_tokens_of_a_long_text_are_those_of_all_of_it(parts: list[tuple[str, int]], encoder: TextEncoder) -> None:
    text = "".join(part * times for part, times in parts)
    whole = encoder._tokenizer.encode(text)
    [tokens] = encoder.tokenize([text])
    assert (tokens.ids, tokens.truncated) == (tuple(whole.ids), bool(whole.overflowing))


def test_the_vector_of_a_long_text_is_that_of_all_of_it(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["soap and water " * 400, "好" * 5000, " " * 9000 + "soap", "x" * 9000]
    cut = encoder.encode(texts)
    monkeypatch.setattr("twotower.encoder._CHARACTERS_PER_TOKEN", 1 << 20)
    whole = encoder.encode(texts)
    np.testing.assert_array_equal(cut.fixed_point, whole.fixed_point)
    assert (cut.token_counts, cut.truncated) == (whole.token_counts, whole.truncated)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.lists(st.sampled_from(["soap", "cake", "film", "good", "bad", "the"]), min_size=7, max_size=7),
        min_size=2,
        max_size=90,
    ),
)
def test_nor_does_it_among_texts_of_its_own_length(words: list[list[str]], encoder: TextEncoder) -> None:
    """These go through the network together, in batches of up to 56."""
    texts = [" ".join(text) for text in words]
    encoded = encoder.encode(texts)
    assert set(encoded.token_counts) == {9}
    for row in {0, len(texts) // 2, len(texts) - 1}:
        assert np.array_equal(encoded.fixed_point[row], encoder.encode([texts[row]]).fixed_point[0])


def test_nor_on_the_number_of_threads_nor_on_concurrent_callers(
    encoder: TextEncoder, encoder_path: Path, alone: dict[str, np.ndarray]
) -> None:
    single = TextEncoder(encoder_path, threads=1).encode(TEXTS).fixed_point
    assert np.array_equal(single, np.array(list(alone.values())))
    with ThreadPoolExecutor(4) as pool:
        for rotation, encoded in enumerate(
            pool.map(lambda r: encoder.encode(TEXTS[r:] + TEXTS[:r]), range(len(TEXTS)))
        ):
            assert np.array_equal(np.roll(encoded.fixed_point, rotation, axis=0), single)


def test_it_is_sentence_transformers(encoder: TextEncoder, tmp_path: Path) -> None:
    """In a process of its own: no test process holds torch beside TensorFlow."""
    script = (
        "import json, sys; import numpy as np; from sentence_transformers import SentenceTransformer;"
        "from trainer.encoding.export import bundled_model_path;"
        "model = SentenceTransformer(str(bundled_model_path()), device='cpu', local_files_only=True);"
        "np.save(sys.argv[2], model.encode(json.loads(sys.argv[1])))"
    )
    target = tmp_path / "reference.npy"
    subprocess.run([sys.executable, "-c", script, json.dumps(TEXTS), str(target)], check=True, capture_output=True)
    reference = np.load(target).astype(np.float64)
    ours = encoder.encode(TEXTS).fixed_point.astype(np.float64)
    cosine = (ours * reference).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(reference, axis=1)
    assert cosine.min() >= 0.9999


def test_long_texts_are_cut_and_say_so(encoder: TextEncoder) -> None:
    encoded = encoder.encode(TEXTS)
    assert encoded.truncated == tuple(text == TEXTS[5] for text in TEXTS)
    assert encoded.token_counts[5] == 256


def test_progress_counts_every_text_once(encoder: TextEncoder) -> None:
    done: list[int] = []
    encoder.encode([*TEXTS, TEXTS[0]], done.append)
    assert sum(done) == len(TEXTS)


def test_no_texts_give_no_vectors(encoder: TextEncoder) -> None:
    assert encoder.encode([]).fixed_point.shape == (0, 384)


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "tokenizer.json", "config.json"])
def test_a_missing_file_is_named(encoder_path: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(encoder_path, tmp_path / "encoder")
    (tmp_path / "encoder" / name).unlink()
    with pytest.raises(ReleaseInvalid, match=f"encoder/{name}: missing"):
        TextEncoder(tmp_path / "encoder")


def test_another_text_template_is_another_encoder(encoder_path: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder_path, tmp_path / "encoder")
    config = tmp_path / "encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"text_template_version": 2}))
    assert encoder_id(tmp_path / "encoder") != encoder_id(encoder_path)
    with pytest.raises(ReleaseInvalid, match="text_template_version 2"):
        TextEncoder(tmp_path / "encoder")
