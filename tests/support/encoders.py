"""An encoder that needs no model, for tests of what is around it."""

import hashlib
import threading
from collections.abc import Sequence

import numpy as np

from twotower.encoder import Encoded
from twotower.features import BERT_DIM, Int16, quantize

MAX_TOKENS = 32


class HashEncoder:
    """Maps a text to a random unit vector seeded by its hash; a token is a word.

    Args:
        encoder_id: what it says it is.
        gate: encoding waits until this is set.
    """

    def __init__(self, encoder_id: str, gate: threading.Event | None = None) -> None:
        self.encoder_id = encoder_id
        self.batches: list[list[str]] = []
        self.started = threading.Event()
        self._gate = gate

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts."""
        self.batches.append(list(texts))
        self.started.set()
        if self._gate is not None and not self._gate.wait(30):
            raise TimeoutError("the gate stayed shut")
        vectors = [hash_vector(text) for text in texts]
        counts = tuple(min(len(text.split()), MAX_TOKENS) for text in texts)
        truncated = tuple(len(text.split()) > MAX_TOKENS for text in texts)
        return Encoded(np.array(vectors, np.int16).reshape(-1, BERT_DIM), counts, truncated)


def hash_vector(text: str) -> Int16:
    """(384,) int16: what :class:`HashEncoder` says of a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=BERT_DIM)
    return quantize((vector / np.linalg.norm(vector)).astype(np.float32))
