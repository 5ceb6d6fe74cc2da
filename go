#!/usr/bin/env bash
# The project's chores, each one command; CI runs nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v uv >/dev/null; then
    # Only Python and pip are here: uv goes into a folder of this checkout that git ignores.
    python=$(command -v python3 || command -v python)
    if [ ! -x .tools/bin/uv ]; then
        "$python" -m pip install --quiet --disable-pip-version-check --target .tools uv >&2
    fi
    PATH="$PWD/.tools/bin:$PATH"
fi

usage() {
    cat <<'TEXT'
./go run [OVERRIDES]    the example application: python -m app
./go test [ARGS]        the test suite: pytest
./go check              lint, format, types, import contracts
./go bench [ARGS]       the benchmarks
./go pictures          screenshots of the example's pages: docs/pictures
./go docs               the references, from the code: docs/options.md, docs/cli.md
./go auth [--check]     a token for Modal: get one, or see whether the one there is works
TEXT
}

chore=${1:-}
[ $# -gt 0 ] && shift
case "$chore" in
run) exec uv run python -m app "$@" ;;
test)
    unset PYTHONDONTWRITEBYTECODE # thousands of processes start, and each would compile all that it imports
    exec uv run pytest "$@"
    ;;
check)
    uv lock --check
    # Without its cache: an earlier verdict does not know of a folder that came since.
    uv run ruff check --no-cache
    uv run ruff format --check
    uv run mypy
    uv run lint-imports
    ;;
docs)
    uv run python -m mini.apparatus.reference >docs/options.md
    uv run python -m mini.cli.reference >docs/cli.md
    ;;
auth) exec uv run python -m mini.apparatus.modal.auth "$@" ;;
pictures) exec uv run python docs/pictures/take.py "$@" ;;
bench) exec uv run --group bench python -m bench "$@" ;;
-h | --help | help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
