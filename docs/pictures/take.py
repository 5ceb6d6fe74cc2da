"""`./go pictures`: run the example's sweep, and take the pictures of this folder from its pages in a real browser.

`./go pictures RUN RUN` takes them of two runs that are there.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from mini.report import run_page
from mini.runs.folder import RunFolder

HERE = Path(__file__).parent
SWEEP = ["optimizer.lr=1e-4,1e-3,1e-2", "model=small,large", "seed=0,1,2"]
MORE = ["optimizer.lr=1e-3,3e-3", "model=small,large", "seed=0,1,2", "optimizer=sgd"]


def sweep(folder: Path, overrides: list[str]) -> RunFolder:
    """Run the example."""
    command = [sys.executable, "-m", "app", *overrides, f"hydra.sweep.dir={folder}"]
    subprocess.run(command, check=True, cwd=HERE.parents[1])
    return RunFolder(folder)


def take(browser: Browser, page: Path, name: str, scheme: str, width: int, height: int, *scripts: str) -> None:
    """One picture."""
    shown = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1)
    shown.goto(page.as_uri())
    shown.wait_for_selector("html[data-ready]")
    for script in scripts:
        shown.evaluate(script)
        shown.wait_for_timeout(400)
    shown.screenshot(path=HERE / f"{name}.png")
    shown.close()


def main() -> None:
    """Run, open, take."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("no chromium: see .ci/browser")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as started:
        there = [RunFolder(path) for path in sys.argv[1:]]
        first, second = there or [sweep(Path(home, "digits-adam"), SWEEP), sweep(Path(home, "digits-sgd"), MORE)]
        one, both = (
            run_page.write([first], Path(home, "one.html")),
            run_page.write([first, second], Path(home, "both.html")),
        )
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take(browser, one, "report", "light", 1440, 1180)
        brush = 'mini.view.brush("overrides.model", ["large"]); mini.view.set({ curve: "loss", log: true })'
        take(browser, one, "report-dark", "dark", 1440, 1180, brush)
        jobs = 'document.querySelector(".scroll").closest("section").scrollIntoView()'
        take(browser, one, "table", "light", 1440, 620, jobs)
        take(browser, both, "compare", "light", 1440, 1180)
        take(browser, one, "phone", "light", 390, 844)
        browser.close()


if __name__ == "__main__":
    main()
