"""What sbatch is given: its flags from our options, and the script of a task."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mini.apparatus.slurm import ranks
from mini.apparatus.slurm.plugin import SlurmOptions, seconds_of
from mini.apparatus.slurm.spool import Spool

FINISHED = 100
"""The exit code of the Python of a task that has nothing more to do; with most others it is started again."""

LEFT = 101
"""The exit code of one that leaves its job, as the task must go."""

ENDED = "MINI_SLURM_ENDED"
"""The variable by which it then hears how it ended before."""

SHELL = "MINI_SLURM_SHELL"
"""The variable with the process number of the script of a task."""

SHARE = 30.0
"""Seconds of work that a task takes where jobs are short."""

_SCRIPT = """\
#!/bin/bash
# A task of a job array: Python takes one job after the other. One that dies is started again, and records that.
trap 'hit=1; over=1' TERM
trap 'hit=1; kill -USR2 "$child" 2>/dev/null' USR2
export PYTHONUNBUFFERED=1 {first}="${{1:-0}}" {again}=0 {shell}=$$
{setup}
{environment}
cd {cwd} || exit 66
[ -f {boot} ] || {{ echo "$(hostname) has no {boot}: nodes must share the run folder"; exit 66; }}
log={tasks}/${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}
before=-1
while :; do
    {command} &
    child=$!
    while :; do
        hit=
        wait "$child"
        code=$?
        [ -z "$hit" ] && break
    done
    case $code in {finished}) exit 0 ;; {left}) exit 143 ;; esac
    [ -n "$over" ] && exit 143
    size=$(stat -c %s "$log" 2>/dev/null || echo 0)
    [ "$size" -eq "$before" ] && exit "$code"
    before=$size
    export {ended}=$code {again}=$(({again} + 1))
done
"""

_UV = """\
# The environment, made once on a node.
env="${{XDG_CACHE_HOME:-$HOME/.cache}}/mini/slurm/{key}"
mkdir -p "$env"
exec 8>"$env.lock"
flock 8
if [ ! -e "$env/.complete" ]; then
    UV_PROJECT_ENVIRONMENT="$env" uv sync --quiet --frozen --no-install-project --no-dev --python {version} \\
        --project {project} || exit 67
    touch "$env/.complete"
fi
exec 8>&-
python="$env/bin/python"
"""


def flags(options: SlurmOptions, name: str, gres: str | None, tasks: int, spool: Spool) -> list[str]:
    """The flags of sbatch.

    Args:
        options: Ours.
        name: Of the array, as the queue shows it.
        gres: The generic resources of each node; None for none.
        tasks: How many tasks the array has.
        spool: The submission.
    """
    at_a_time = f"%{options.array_parallelism}" if options.array_parallelism else ""
    many = options.nodes * options.tasks_per_node > 1
    given: list[tuple[str, object]] = [
        ("job-name", name),
        ("array", f"0-{tasks - 1}{at_a_time}"),
        ("output", f"{spool.path}/output/%A_%a.txt"),
        ("open-mode", "append"),
        ("requeue", True),
        # To the shell alone, which hands it on; where there are steps, to these.
        ("signal", f"{'' if many else 'B:'}USR2@{grace(options)}"),
        ("partition", options.partition),
        ("account", options.account),
        ("qos", options.qos),
        ("time", options.time),
        ("nodes", options.nodes if many else None),
        ("ntasks-per-node", options.tasks_per_node if many else None),
        ("ntasks", options.nodes * options.tasks_per_node),
        ("cpus-per-task", options.cpus_per_task),
        ("mem", options.mem),
        ("gres", gres),
        ("constraint", options.constraint),
        *options.sbatch,
    ]
    return [
        f"--{flag}" if value is True else f"--{flag}={value}" for flag, value in given if value not in (None, False, "")
    ]


def grace(options: SlurmOptions) -> int:
    """Seconds before the time limit at which a job is interrupted: at most a quarter of it."""
    limit = seconds_of(options.time) if options.time else None
    return max(1, min(options.grace, limit // 4)) if limit else options.grace


def share(options: SlurmOptions) -> float:
    """Seconds of short jobs' work that a task takes: little of its time limit, so that each job has most of it."""
    limit = seconds_of(options.time) if options.time else None
    return min(SHARE, limit / 10) if limit else SHARE


def script(options: SlurmOptions, spool: Spool, cwd: Path, project: tuple[Path, str] | None) -> str:
    """The script of a task.

    Args:
        options: Ours.
        spool: The submission.
        cwd: Where jobs run.
        project: With `environment=uv`, the folder with the lock, and what names its environment.
    """
    boot = shlex.quote(str(spool.path / "boot.py"))
    environment, python = "", shlex.quote(options.python or sys.executable)
    if project is not None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        environment = _UV.format(key=project[1], version=version, project=shlex.quote(str(project[0])))
        python = '"$python"'
    return _SCRIPT.format(
        setup="\n".join(options.setup),
        environment=environment + _ranks(options),
        cwd=shlex.quote(str(cwd)),
        boot=boot,
        tasks=shlex.quote(str(spool.path / "tasks")),
        command=f"{_srun(options)}{python} {boot}",
        finished=FINISHED if options.nodes * options.tasks_per_node == 1 else 0,
        left=LEFT,
        ended=ENDED,
        first=ranks.FIRST,
        again=ranks.AGAIN,
        shell=SHELL,
    )


def _ranks(options: SlurmOptions) -> str:
    """Where the processes of a job meet."""
    if options.nodes * options.tasks_per_node == 1:
        return ""
    return (
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)\n'
        "MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))\n"
        f"export MASTER_ADDR MASTER_PORT {ranks.RANKS}={options.nodes * options.tasks_per_node}\n"
    )


def _srun(options: SlurmOptions) -> str:
    """What starts the processes of a job: one that fails ends the others, one that is done does not."""
    many = options.nodes * options.tasks_per_node
    if many == 1:
        return ""
    cores = f"--cpus-per-task={options.cpus_per_task} " if options.cpus_per_task else ""  # srun does not inherit it
    return f"srun --ntasks={many} {cores}--kill-on-bad-exit=1 --wait=0 "


def title(project: str, words: Sequence[str]) -> str:
    """What the queue calls an array: the project, and the run it belongs to."""
    return "-".join([project, *words])[:80]
