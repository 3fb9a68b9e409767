"""Install each extra alone in a fresh environment, import its package, and see that no other part came along."""

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ["tensorflow", "torch", "sentence-transformers", "implicit", "pandas"]
# Extra: modules that must import, distributions that must not be there.
EXPECTED: dict[str, tuple[list[str], list[str]]] = {
    "clients": (["clients.cli", "clients.recommender"], ["openvino", "redis", *TRAINING]),
    "embedding": (["embedding_service.__main__", "embedding_service.bootstrap"], ["jax", *TRAINING]),
    "ranking": (
        ["ranking_service.__main__", "ranking_service.bootstrap"],
        ["redis", "openvino", "faiss-cpu", *TRAINING],
    ),
    "trainer": (["trainer.__main__", "trainer.cli.commands", "trainer.report.page"], ["redis", "locust"]),
}


def check(extra: str, modules: list[str], forbidden: list[str], folder: Path) -> None:
    """Install one extra and import its modules; exits with the reason if that fails."""
    start = time.monotonic()
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    requirement = ["-c", str(ROOT / "constraints.txt"), f"{ROOT}[{extra}]"]
    subprocess.run([*pip, "install", "--quiet", *requirement], check=True, stderr=subprocess.DEVNULL)
    for module in modules:
        # From another folder, so that the wheel is imported and not the source tree.
        subprocess.run([python, "-W", "ignore", "-c", f"import {module}"], check=True, cwd=folder)
    listed = subprocess.check_output([*pip, "list", "--format=freeze"], text=True)
    installed = {line.split("==")[0].lower() for line in listed.splitlines()}
    unwanted = installed.intersection(forbidden)
    if unwanted:
        sys.exit(f"extra {extra!r} pulls in {sorted(unwanted)}")
    seconds = time.monotonic() - start
    print(f"{extra}: {len(installed)} packages, imports {', '.join(modules)} ({seconds:.0f} s)", flush=True)


def main() -> None:
    """Check every extra, or those named on the command line."""
    for extra in sys.argv[1:] or EXPECTED:
        with tempfile.TemporaryDirectory() as folder:
            check(extra, *EXPECTED[extra], Path(folder) / "venv")


if __name__ == "__main__":
    main()
