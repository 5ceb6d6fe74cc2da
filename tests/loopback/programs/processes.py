"""A container starts programs, writes temporary files, and changes its own environment."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import modal

app = modal.App("smithy")


@app.function(max_containers=1)
def forge(thing):
    os.environ["LAST"] = thing
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "script.py").write_text("import os; print(os.environ['LAST'].upper())")
        return subprocess.check_output([sys.executable, str(Path(folder, "script.py"))], text=True).strip()


@app.local_entrypoint()
def main():
    assert forge.remote("hammer") == "HAMMER"
    assert "LAST" not in os.environ
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
