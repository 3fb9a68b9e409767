"""What `make audit` makes of pip-audit's answer."""

import pytest

from tools.audit import unaccepted

VULN = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["0.39"]}
FOUND = {"name": "wheel", "version": "0.38", "vulns": [VULN]}
CLEAN = {"name": "click", "version": "8.5", "vulns": []}


@pytest.mark.parametrize(
    ("accepted", "lines"),
    [((), ["wheel 0.38: PYSEC-1, mended in 0.39"]), (("PYSEC-1",), []), (("CVE-1",), []), (("CVE-2",), 1)],
)
def test_a_vulnerability_is_reported_unless_it_or_an_alias_is_accepted(
    accepted: tuple[str, ...], lines: list[str] | int
) -> None:
    found = unaccepted([CLEAN, FOUND], accepted)

    assert len(found) == lines if isinstance(lines, int) else found == lines
