"""`mini`: what a person asks of runs and images, from a terminal. Reads; only what says so changes anything."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mini.errors import MiniError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; None for those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        code: int = chosen.do(chosen)
        return code
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MiniError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mini", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    image = verbs.add_parser("image", help="what a container would be built from; offline, builds nothing")
    image.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for the application, such as image=cuda")
    image.add_argument("--diff", metavar="RUN", help="only what changed since the image of that run, layer by layer")
    image.add_argument("--config", default="conf/config.yaml", help="the application's config (conf/config.yaml)")
    image.add_argument("--json", action="store_true", help="for programs")
    image.set_defaults(do=_image)
    return parser


def _image(chosen: argparse.Namespace) -> int:
    from mini import project, report_image

    root = project.root()
    return report_image.show(root, root / chosen.config, chosen.overrides, diff=chosen.diff, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
