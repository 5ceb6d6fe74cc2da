"""Make the picture of the README, docs/images/sweep.svg, of a real run: `uv run python .ci/picture.py`."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

PROJECT = Path(__file__).parents[1]
SHOWN = "./go run optimizer.lr=1e-3,1e-2 model=small,large"
WIDTH, HEIGHT = 100, 40


def screen_of(command: list[str], cwd: Path) -> pyte.Screen:
    """What a terminal shows when a command is over."""
    master, slave = pty.openpty()
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.ByteStream(screen)
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
    process = subprocess.Popen(command, cwd=cwd, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    try:
        while data := os.read(master, 4096):
            stream.feed(data)
    except OSError:  # the command has closed the terminal
        pass
    if process.wait() != 0:
        raise SystemExit("\n".join(screen.display))
    return screen


def line_of(screen: pyte.Screen, row: int) -> Text:
    """A row with its colours."""
    line = Text()
    for column in range(WIDTH):
        cell = screen.buffer[row][column]
        color = "" if cell.fg == "default" else cell.fg if not cell.fg.isalnum() or cell.fg.isalpha() else f"#{cell.fg}"
        line.append(cell.data, style=f"{'bold ' if cell.bold else ''}{color.replace('brown', 'yellow')}".strip())
    line.rstrip()
    return line


def main() -> None:
    """Run the example and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        words = SHOWN.removeprefix("./go run ").split()
        screen = screen_of([sys.executable, "-m", "app", *words], Path(folder))
    lines = [line_of(screen, row) for row in range(HEIGHT)]
    while lines and not lines[-1].plain:
        lines.pop()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), SHOWN))
    for line in lines:
        console.print(line, soft_wrap=True)
    target = PROJECT / "docs" / "images" / "sweep.svg"
    picture = console.export_svg(title="mini")
    # A reader's own font of fixed width: a picture asks no server for one.
    target.write_text(re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
