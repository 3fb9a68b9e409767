"""What is of this machine and what is not."""

import pytest

from twotower.loopback import is_loopback


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("a.localhost:1", True),
        ("[::1]:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("dns:///localhost:1", True),
        ("unix:/tmp/x", True),
        ("10.0.0.1:1", False),
        ("ranking:1", False),
        ("[2001:db8::1]:1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("127.0.0.1.example.org:1", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("dns://10.0.0.1/localhost:1", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
