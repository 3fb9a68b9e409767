"""Generate `twotower/v1` from `proto/`, or with ``--check`` say whether it is fresh."""

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("twotower/v1")


def generate(target: Path) -> None:
    """Write the stubs of every proto file below `target`."""
    protos = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto" / PACKAGE).glob("*.proto"))
    well_known = files("grpc_tools") / "_proto"
    include = [f"-I{ROOT / 'proto'}", f"-I{well_known}"]
    output = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "pyi")]
    if protoc.main(["protoc", *include, *output, *protos]) != 0:
        sys.exit("protoc failed")


def main() -> None:
    """Generate into the tree, or into a temporary folder and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a stub is stale")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / PACKAGE
        names = {path.name for path in fresh.iterdir()}
        committed = {path.name for path in (ROOT / PACKAGE).glob("*_pb2*")}
        _, mismatch, errors = filecmp.cmpfiles(fresh, ROOT / PACKAGE, sorted(names), shallow=False)
        stale = sorted({*mismatch, *errors, *(committed - names)})
        if arguments.check:
            sys.exit(f"stale stubs, run `make proto`: {', '.join(stale)}" if stale else 0)
        for name in committed - names:
            (ROOT / PACKAGE / name).unlink()
        for name in names:
            shutil.copyfile(fresh / name, ROOT / PACKAGE / name)


if __name__ == "__main__":
    main()
