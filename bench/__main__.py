"""`./go bench [NAME …]`: run the benchmarks named, or all."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def main() -> None:
    """Run, print and write `outputs/bench/NAME.json`."""
    chosen = sys.argv[1:] or NAMES
    unknown = sorted(set(chosen) - set(NAMES))
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if len(chosen) > 1:  # each in a process of its own: what one leaves in memory would be counted in the next
        for name in chosen:
            subprocess.run([sys.executable, "-m", "bench", name], check=True)
        return
    for name in chosen:
        print(f"== {name}", flush=True)
        figures = importlib.import_module(f"bench.{name}").main()
        target = Path("outputs", "bench", f"{name}.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
