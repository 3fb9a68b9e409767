"""The text encoder that a release carries: a sentence-transformer exported to OpenVINO, run without torch.

A text is inferred at its own length, by one thread, alone or with texts of exactly as many tokens. So there is no
padding, and its vector does not depend on its batch-mates, on the batch size or on the number of cores: the same text
gives the same int16 vector in training and in serving. Throughput comes from one inference stream a core.
(docs/adr/0004-encoder-without-padding.md has the measurement.)
"""

import hashlib
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from twotower.cores import usable_cores
from twotower.errors import ReleaseInvalid
from twotower.features import BERT_DIM, TEXT_TEMPLATE_VERSION, Int16, quantize
from twotower.release_manifest import ENCODER_FILES

MODEL_XML: Final = ENCODER_FILES[0]
MODEL_BIN: Final = ENCODER_FILES[1]
TOKENIZER: Final = ENCODER_FILES[2]
CONFIG: Final = ENCODER_FILES[3]
_PRECISIONS: Final = ("f32", "bf16")
BATCH_TOKENS: Final = 512
"""Tokens of one inference: enough for the matrix products to be efficient, few enough for their activations to stay in
the cache.
"""
_CHARACTERS_PER_TOKEN: Final = 8
"""Of the beginning of a text that is tokenised first: twice what English has."""


@dataclass(frozen=True)
class EncoderConfig:
    """``config.json`` of an encoder folder.

    Attributes:
        model: name of the sentence-transformer.
        max_tokens: longer texts are cut, special tokens included.
        precision: OpenVINO's inference precision, ``f32`` or ``bf16``; a CPU without bf16 computes in f32 all the same.
        text_template_version: of :func:`twotower.features.review_text` and :func:`~twotower.features.product_text`.
        id_version: 2 if the encoder's id covers its graph, 1 if it was exported before it did.
    """

    model: str
    max_tokens: int
    precision: str = "f32"
    text_template_version: int = TEXT_TEMPLATE_VERSION
    id_version: int = 1

    @classmethod
    def read(cls, directory: Path) -> "EncoderConfig":
        """The config of an encoder folder.

        Raises:
            ReleaseInvalid: it is not there, or none.
        """
        try:
            config = cls(**json.loads((directory / CONFIG).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ReleaseInvalid(f"encoder/{CONFIG}: {error}") from error
        numbers = (config.max_tokens, config.text_template_version, config.id_version)
        if any(type(number) is not int or number < 1 for number in numbers) or config.precision not in _PRECISIONS:
            raise ReleaseInvalid(f"encoder/{CONFIG}: must have whole numbers, and a precision of {_PRECISIONS}")
        return config

    @property
    def golden_tolerance(self) -> int:
        """Units of 1/32767 that an element of a golden text's vector may differ by.

        In f32: 0 on the CPU that wrote it, 1 seen where another instruction set rounds the other way, and one more for
        safety. In bf16: 50 seen between a CPU that has it and one that computes in f32 instead (cosine 0.99996), and
        twice as much again for safety. Another model, tokenizer or template is off by thousands.
        """
        return 150 if self.precision == "bf16" else 2


@dataclass(frozen=True)
class Tokens:
    """A tokenised text."""

    ids: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True)
class Encoded:
    """Embedded texts.

    Attributes:
        fixed_point: (texts, 384) int16.
        token_counts: tokens of each text that counted.
        truncated: whether each text was cut.
    """

    fixed_point: Int16
    token_counts: tuple[int, ...]
    truncated: tuple[bool, ...]


def import_openvino() -> Any:
    """The ``openvino`` module, without its telemetry.

    Importing it reports to a web analytics service from a forked process, unless the package that does so can't be
    imported. A server must not call home, and must not fork once gRPC has threads.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None is how Python marks a module as not to be had
    import openvino

    return openvino


def encoder_id(directory: Path) -> str:
    """Content id of an encoder folder: weights, tokenizer, config and, by what the config says, the graph."""
    digest = hashlib.sha256()
    graph = (MODEL_XML,) if EncoderConfig.read(directory).id_version > 1 else ()
    for name in (MODEL_BIN, TOKENIZER, CONFIG, *graph):
        digest.update(hashlib.sha256((directory / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


class TextEncoder:
    """Turns texts into fixed-point unit vectors. Thread-safe: concurrent callers take turns.

    Args:
        directory: folder with ``model.xml``, ``model.bin``, ``tokenizer.json`` and ``config.json``.
        threads: inference streams of one thread each; all cores if None.

    Raises:
        ReleaseInvalid: naming the file that is missing or unreadable, or a text template of another version.
    """

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        from tokenizers import Tokenizer

        ov = import_openvino()

        for name in (MODEL_XML, MODEL_BIN, TOKENIZER, CONFIG):
            if not (directory / name).is_file():
                raise ReleaseInvalid(f"encoder/{name}: missing")
        self.config = EncoderConfig.read(directory)
        if self.config.text_template_version != TEXT_TEMPLATE_VERSION:
            found = self.config.text_template_version
            raise ReleaseInvalid(
                f"encoder/{CONFIG}: text_template_version {found}, this version writes {TEXT_TEMPLATE_VERSION}"
            )
        self.encoder_id = encoder_id(directory)
        # Without a limit the Rust thread pool of `tokenizers` warns at every later fork.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._tokenizer = _read(TOKENIZER, lambda: Tokenizer.from_file(str(directory / TOKENIZER)))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.config.max_tokens)
        streams = threads or usable_cores()
        options = {
            "INFERENCE_PRECISION_HINT": self.config.precision,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
        }
        core = ov.Core()
        self._model = _read(
            MODEL_XML, lambda: core.compile_model(core.read_model(directory / MODEL_XML), "CPU", options)
        )
        # Encoders exported before this was measured take one text a call.
        self._batches = self._model.input(0).partial_shape[0].is_dynamic
        self._requests = ov.AsyncInferQueue(self._model, streams)
        self._lock = threading.Lock()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise; a text longer than ``max_tokens`` is cut and says so.

        Of a long text only a beginning is read, unless that does not settle its tokens: they are those of the text.
        """
        most = _CHARACTERS_PER_TOKEN * self.config.max_tokens
        encodings = self._tokenizer.encode_batch([text[:most] for text in texts])
        unsettled = [i for i, text in enumerate(texts) if len(text) > most and not _is_settled(encodings[i])]
        for i, encoding in zip(unsettled, self._tokenizer.encode_batch([texts[i] for i in unsettled]), strict=True):
            encodings[i] = encoding
        return [Tokens(tuple(encoding.ids), bool(encoding.overflowing)) for encoding in encodings]

    def encode(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Encoded:
        """Embed texts; equal texts are inferred once.

        Args:
            texts: any number of texts, each of any length.
            on_progress: called with the number of texts done since the last call.

        Returns:
            One row a text, in order.
        """
        unique = list(dict.fromkeys(texts))
        tokens = self.tokenize(unique)
        vectors = np.empty((len(unique), BERT_DIM), np.float32)
        with self._lock:
            self._infer(tokens, vectors, on_progress or (lambda _: None))
        fixed_point = quantize(vectors)
        index = {text: i for i, text in enumerate(unique)}
        rows = [index[text] for text in texts]
        return Encoded(
            fixed_point[rows] if rows else np.zeros((0, BERT_DIM), np.int16),
            tuple(len(tokens[row].ids) for row in rows),
            tuple(tokens[row].truncated for row in rows),
        )

    def _infer(self, tokens: list[Tokens], vectors: np.ndarray, on_progress: Callable[[int], None]) -> None:
        failures: list[BaseException] = []

        def store(request: Any, rows: list[int]) -> None:
            try:
                vectors[rows] = request.get_output_tensor(0).data
                on_progress(len(rows))
            except BaseException as error:  # an exception must not be lost in the runtime's thread
                failures.append(error)

        self._requests.set_callback(store)
        for rows in _of_one_length([len(text.ids) for text in tokens], BATCH_TOKENS if self._batches else 0):
            self._requests.start_async({0: np.array([tokens[row].ids for row in rows], np.int64)}, rows)
        self._requests.wait_all()
        if failures:
            raise failures[0]


def _read(name: str, read: Callable[[], Any]) -> Any:
    """Read a file of an encoder by a library that raises whatever it likes."""
    try:
        return read()
    except Exception as error:
        raise ReleaseInvalid(f"encoder/{name}: can't be read: {' '.join(str(error).split())[:400]}") from error


def _is_settled(encoding: Any) -> bool:
    """Whether the tokens of a text's beginning are those of the text: none is of the last word, which may be cut."""
    if not encoding.overflowing:
        return False
    last = next((word for word in reversed(encoding.overflowing[-1].word_ids) if word is not None), None)
    return last is not None and last not in encoding.word_ids


def _of_one_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Batches of rows of equal length, each of at most `budget` tokens or one row.

    Longest first, so that no stream is left with a long text at the end.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for length, group in itertools.groupby(order, key=lambda row: lengths[row]):
        rows = list(group)
        size = max(1, budget // length)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))
