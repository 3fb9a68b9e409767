"""Ask PyPI for known vulnerabilities of everything that is locked; exit code 1 if there is one that nobody accepted.

Where the database can't be reached that is said, and is no failure unless ``--required`` is given.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Container
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "requirements"
LOCKS: Final = ("all", "torch")
ACCEPTED: Final = FOLDER / "accepted-vulnerabilities.toml"


def ask() -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says of each package, and, where it gave up, its last line."""
    files = [argument for lock in LOCKS for argument in ("--requirement", str(FOLDER / f"{lock}.lock"))]
    options = ["--vulnerability-service", "pypi", "--disable-pip", "--require-hashes", "--format", "json"]
    command = [sys.executable, "-m", "pip_audit", *options, "--progress-spinner", "off", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (json.JSONDecodeError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["no answer"])[-1]


def unaccepted(packages: list[dict[str, Any]], accepted: Container[str]) -> list[str]:
    """A line per vulnerability of which neither the identifier nor an alias was accepted."""
    return [
        f"{package['name']} {package['version']}: {item['id']}, mended in {', '.join(item['fix_versions']) or 'none'}"
        for package in packages
        for item in package["vulns"]
        if not any(name in accepted for name in (item["id"], *item["aliases"]))
    ]


def main() -> None:
    """Audit, and say how many packages were really looked up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail where the database can't be reached")
    required = parser.parse_args().required
    packages, problem = ask()
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        reason = problem or "it knows none of the packages, as an index without the database answers"
        print(f"NOT AUDITED: PyPI's vulnerability database is not reached from here ({reason})")
        sys.exit(1 if required else 0)
    accepted = tomllib.loads(ACCEPTED.read_text())
    found = unaccepted(audited, accepted)
    print(f"audited {len(audited)} of {len(packages)} packages, {len(accepted)} vulnerabilities accepted")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
