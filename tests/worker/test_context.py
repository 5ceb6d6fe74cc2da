"""The helpers of a job, where there is no job."""

import subprocess
import sys
from pathlib import Path

from mini import job_dir, progress
from mini.worker import context


def test_outside_any_apparatus_there_is_one_folder_for_the_process():
    context._loose_folder.cache_clear()
    first, second = job_dir(), job_dir()
    assert first == second
    assert first.is_dir()
    assert first.parent == Path("outputs/loose").absolute()
    context._loose_folder.cache_clear()


def test_progress_outside_any_apparatus_does_no_harm():
    progress(1, 3, loss=0.5)
    progress(2)


def test_in_a_plain_hydra_application_it_is_hydras_folder(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import hydra\nfrom mini import job_dir\n@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(cfg):\n    print(job_dir())\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, script, "hydra.run.dir=here"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "here")
