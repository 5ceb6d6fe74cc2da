"""How long `python -m app --cfg job` takes, against the same application without this package."""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
PROJECT = Path(__file__).parents[1]


def main() -> dict[str, float]:
    """Alternate the two, and compare medians."""
    with tempfile.TemporaryDirectory() as name:
        bare = _bare_application(Path(name))
        ours_command = [sys.executable, "-m", "app", "--cfg", "job"]
        # -I leaves out what is installed here but Hydra: the plugin must not be found.
        bare_command = [sys.executable, "-m", "bare", "--cfg", "job"]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds(ours_command, PROJECT))
            theirs.append(_seconds(bare_command, bare))
    figures = {"ours": statistics.median(ours), "bare": statistics.median(theirs)}
    figures["ratio"] = figures["ours"] / figures["bare"]
    print(
        "python -m app --cfg job: {ours:.3f} s; a bare Hydra application: {bare:.3f} s; ratio {ratio:.2f}".format(
            **figures
        )
    )
    return figures


def _bare_application(folder: Path) -> Path:
    """The same configs and the same function, in an environment that has Hydra and nothing of this package."""
    shutil.copytree(PROJECT / "conf", folder / "conf")
    config = (folder / "conf" / "config.yaml").read_text().replace("  - mini\n", "")
    (folder / "conf" / "config.yaml").write_text(config)
    main = (PROJECT / "src" / "app" / "__main__.py").read_text().replace("parents[2]", "parents[1]")
    (folder / "bare").mkdir()
    (folder / "bare" / "__init__.py").touch()
    (folder / "bare" / "__main__.py").write_text(main)
    # A sitecustomize takes this package's folder off the path before Hydra looks for plugins.
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.path = [p for p in sys.path if p != {str(PROJECT / 'src')!r}]\n"
    )
    return folder


def _seconds(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=_environment(folder))
    return time.perf_counter() - began


def _environment(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": "" if folder == PROJECT else str(folder)}
