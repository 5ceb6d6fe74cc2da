"""A Slurm of its own on this machine: the real daemons, in a temporary folder, on ports of their own.

It needs Slurm's programs (`apt-get install slurm-wlm` on Debian and Ubuntu) and no privileges. Several may run at a
time. Who may reach a port of it may submit jobs as the user who started it: it is for a machine of one user.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mini.errors import UsageError

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
"""What must be installed."""

_SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # where daemons are, which is not on everybody's PATH
_STARTING = 60.0  # seconds for the nodes to be idle
_TRIES = 3  # of starting: another process may have taken a port meanwhile
_GRACE = 10.0  # seconds a daemon has to end

_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
SlurmdPort={first}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=300
SlurmdTimeout=30
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
"""


class Slurm:
    """A Slurm cluster, started by `with` and ended with it, all its jobs included.

    It has two partitions over the same nodes: `main`, the default, with a limit of an hour, and `urgent`, whose jobs
    preempt those of `main`.

    Args:
        nodes: How many; each is a daemon of its own, and all are this machine.
        cpus: Of each node, whatever this machine has.
        memory: MiB of each node; a job that uses more than it asked for is ended.
        gpus: Of each node, of the type `a100`; in name only.
        private: Folders that are empty on the nodes and not those of this machine; this needs root.

    Raises:
        UsageError: Slurm is not installed.
    """

    def __init__(
        self, nodes: int = 1, cpus: int = 2, memory: int = 4000, gpus: int = 2, private: Sequence[Path] = ()
    ) -> None:
        missing = [name for name in PROGRAMS if _find(name) is None]
        if missing:
            raise UsageError(
                f"there is no {', '.join(missing)} on the PATH; install Slurm, on Debian and Ubuntu with "
                "`apt-get install slurm-wlm`"
            )
        self._nodes, self._cpus, self._memory, self._gpus, self._private = nodes, cpus, memory, gpus, list(private)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Where its files are."""
        assert self._folder is not None, "the cluster is not started"
        return self._folder

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which Slurm's commands find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> Self:
        for left in reversed(range(_TRIES)):
            self._folder = Path(tempfile.mkdtemp(prefix="mini-slurm-"))
            try:
                self._start()
                break
            except UsageError:
                self.close()
                if not left:
                    raise
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the jobs and the daemons, and remove the files. A second call does nothing."""
        if self._folder is None:
            return
        # What is still in the queue would outlive the daemons.
        self._command("scancel", "--user", getpass.getuser())
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and self._command("squeue", "--noheader"):
            time.sleep(0.1)
        for daemon in reversed(self._daemons):
            with contextlib.suppress(OSError):
                daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            try:
                daemon.wait(_GRACE)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def node_down(self, node: str) -> None:
        """Let a node fail, with what runs there: Slurm notices when it is told, and so it is told.

        Args:
            node: Its name: `node1`, `node2`, …
        """
        self._command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def node_up(self, node: str) -> None:
        """Let a node come back.

        Args:
            node: Its name.
        """
        self._command("scontrol", "update", f"nodename={node}", "state=resume")

    def _start(self) -> None:
        ports = _free_ports(self._nodes + 1)
        (self.folder / "state").mkdir()
        self._configure(ports)
        self._daemon("slurmctld", [_program("slurmctld"), "-D", "-c"])
        for i in range(1, self._nodes + 1):
            self._daemon(f"node{i}", self._unshared([_program("slurmd"), "-D", "-N", f"node{i}"]))
        deadline = time.monotonic() + _STARTING
        while True:
            states = self._command("sinfo", "--noheader", "--Node", "--partition=main", "--format=%t").split()
            if states == ["idle"] * self._nodes:
                return
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self._daemons):
                raise UsageError(f"Slurm did not start: {self._last_words()}")
            time.sleep(0.05)

    def _configure(self, ports: Sequence[int]) -> None:
        host = socket.gethostname().split(".")[0]
        text = _CONF.format(
            name=self.folder.name.replace("-", "_").lower(),
            host=host,
            user=getpass.getuser(),
            port=ports[0],
            first=ports[1],
            folder=self.folder,
        )
        for i, port in enumerate(ports[1:], 1):
            text += (
                f"NodeName=node{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self._cpus} "
                f"RealMemory={self._memory} Gres=gpu:a100:{self._gpus} Features=here\n"
            )
        each = self._memory // self._cpus // 2
        text += f"PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefMemPerCPU={each} PriorityTier=1\n"
        text += f"PartitionName=urgent Nodes=ALL MaxTime=60 DefMemPerCPU={each} PriorityTier=10 PreemptMode=OFF\n"
        (self.folder / "slurm.conf").write_text(text)
        gpus = []
        for i in range(self._gpus):
            (self.folder / f"gpu{i}").touch()
            gpus.append(f"Name=gpu Type=a100 File={self.folder}/gpu{i}\n")
        (self.folder / "gres.conf").write_text("".join(gpus))

    def _unshared(self, command: list[str]) -> list[str]:
        if not self._private:
            return command
        mounts = " && ".join(f"mount -t tmpfs none '{folder}'" for folder in self._private)
        return ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]

    def _daemon(self, name: str, command: list[str]) -> None:
        keeper = shutil.which("setpriv")  # should this process be killed, its daemons end too
        if keeper is not None:
            command = [keeper, "--pdeathsig", "TERM", *command]
        with (self.folder / f"{name}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # Ctrl-C is for whoever uses the cluster
                )
            )

    def _command(self, *words: str) -> str:
        """What one of Slurm's commands prints; nothing where it fails."""
        program = [_program(words[0]), *words[1:]]
        try:
            done = subprocess.run(
                program, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=30
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def _last_words(self) -> str:
        said = [path.read_text(errors="replace").strip() for path in sorted(self.folder.glob("*.out"))]
        return "\n".join(line for text in said for line in text.splitlines()[-3:])


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(_SBIN))


def _program(name: str) -> str:
    found = _find(name)
    assert found is not None
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
