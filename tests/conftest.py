"""Fixtures that more than one package's tests need."""

import os
import signal
from pathlib import Path

import pytest

from trainer.encoding.export import cached_encoder


def pytest_configure() -> None:
    """Obey Ctrl-C again where a shell started the tests in the background, which ignores it.

    The processes that the tests start inherit that, and would not end at the Ctrl-C that a test sends them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real encoder, exported once; by a process of its own, so that no test process holds torch."""
    return cached_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def data_path() -> Path:
    """Folder of the real review files; the test is skipped where there is none."""
    folder = os.environ.get("TWOTOWER_DATA")
    if not folder:
        pytest.skip("needs the real review files: set TWOTOWER_DATA to their folder")
    return Path(folder)
