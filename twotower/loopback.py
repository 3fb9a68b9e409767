"""Which addresses are of this machine: no token is sent beyond it in plaintext, and no service listens beyond it so."""

import ipaddress
import re
from typing import Final

HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s:/\[\]@]+):(?P<port>\d{1,5})")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    match = HOST_AND_PORT.fullmatch(address.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:"))
    host = match["host"].strip("[]") if match else ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
