"""A server that answers the whole API from memory."""

from collections.abc import Iterator

import pytest

from tests.support.memory_api import MemoryServer, memory_server


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    """Ten products, no reviews, SERVING."""
    with memory_server() as running:
        yield running
