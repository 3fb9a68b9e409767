"""Install one of requirements/*.lock, every file by its hash, with the pip of the Python that runs this.

``python tools/install.py all``. Nothing outside the lock is installed, and on Linux nothing is built from source.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "requirements"
PIP: Final = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
WHEELS_ONLY: Final = ["--only-binary", ":all:"] if sys.platform == "linux" else []
NEED_TORCH: Final = ("all", "trainer")


def install(lock: str, *, optional: bool = False) -> bool:
    """Install a lock file; whether that succeeded. Exits with what pip said unless it is `optional`."""
    command = [*PIP, "--no-deps", "--require-hashes", *WHEELS_ONLY, "--requirement", str(FOLDER / f"{lock}.lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not optional:
        sys.exit(done.stderr)
    return done.returncode == 0


def main() -> None:
    """Install the lock named on the command line, and PyTorch where it is needed."""
    lock = sys.argv[1]
    # A CPU build where pip is offered one; PyPI's, with CUDA's libraries, elsewhere.
    if lock in NEED_TORCH and not install("torch-cpu", optional=True):
        print("no CPU build of PyTorch is offered here: taking PyPI's", flush=True)
        install("torch")
    install(lock)


if __name__ == "__main__":
    main()
