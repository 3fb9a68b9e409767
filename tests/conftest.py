"""Fixtures that more than one package's tests need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real encoder, exported once; in a process of its own so that no test process holds torch."""
    directory = tmp_path_factory.mktemp("encoder") / "encoder"
    script = (
        "import sys; from pathlib import Path; from trainer.encoding.export import export_encoder; "
        "export_encoder(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(directory)], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="session")
def data_path() -> Path:
    """Folder of the real review files; the test is skipped where there is none."""
    folder = os.environ.get("TWOTOWER_DATA")
    if not folder:
        pytest.skip("needs the real review files: set TWOTOWER_DATA to their folder")
    return Path(folder)
