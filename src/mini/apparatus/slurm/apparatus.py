"""Jobs in the queue of a Slurm cluster."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from mini import project
from mini.apparatus.base import Apparatus
from mini.apparatus.slurm import checks, scheduler, script
from mini.apparatus.slurm.plugin import SlurmOptions
from mini.apparatus.slurm.scheduler import Queue
from mini.apparatus.slurm.spool import FOLDER, About, Spool
from mini.apparatus.slurm.stream import SlurmStream
from mini.apparatus.slurm.submission import Submission
from mini.apparatus.stream import Stream
from mini.apparatus.volume import LocalVolume
from mini.errors import CloudError, UsageError
from mini.job import Job
from mini.limits import Limits
from mini.runs import snapshot
from mini.runs.folder import RunFolder
from mini.worker.pickling import Parcel

_ARRAY = 1000  # tasks that every cluster allows in an array, unless it was made to allow fewer
_probed: set[tuple[str | None, str | None, int]] = set()
"""The folders' file systems that nodes have, by cluster and partition."""


class SlurmApparatus(Apparatus):
    """Runs jobs as the tasks of job arrays.

    It needs the commands of Slurm here, and a file system that nodes share with this machine for the run folders and,
    unless `environment` says otherwise, the environment. A batch of jobs is one array; its tasks take one job after
    the other, and where jobs are short each takes many.

    Args:
        name: What the queue shows, and what the files of jobs of no run are filed under.
        volume: The folder where the files of its jobs go.
        options: Those of `SlurmOptions`.

    Raises:
        OptionError: An option is unknown or its value impossible.
    """

    kind = "slurm"
    options_type = SlurmOptions
    goes_on_alone = True
    options: SlurmOptions

    def __init__(self, name: str = "mini", *, volume: Path | str = "outputs", **options: Any) -> None:
        super().__init__(name, **options)
        self._volume = LocalVolume(volume)
        self._shared = _Shared(project.root())

    @property
    def volume(self) -> LocalVolume:
        """The folder where the jobs leave their files."""
        return self._volume

    def place(self, run: Path) -> None:
        """As everywhere: the run folder is the same for jobs. Notes which it is."""
        self._shared.runs_in = run.absolute().parent

    def ready(self) -> None:
        """Check the options against the cluster, and that nodes have the folder.

        Raises:
            UsageError: Slurm is not here, or the cluster cannot do what is asked.
            CloudError: Slurm cannot be reached.
        """
        self._require_open()
        self._gres()

    def require_detachable(self) -> None:
        """As `ready`."""
        self.ready()

    def detach(
        self, folder: RunFolder, parts: Sequence[tuple[Self, Sequence[Parcel]]], limits: Limits
    ) -> dict[str, Any]:
        """Submit an array for each part; the tasks keep the limits."""
        arrays = [
            array for view, parcels in parts for array in view._submit(parcels, limits=limits, values=False).arrays
        ]
        return {"arrays": arrays}

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        options, shared = self.options, self._shared
        stream = SlurmStream(self._submit, shared.queue, parcels, options.retries, _run_of(parcels), options.logs)
        shared.streams.add(stream)
        return stream

    def _close(self) -> None:
        self._shared.close()

    def _folder(self, batch: str, index: int) -> str:
        return str(self._volume.path / self.name / batch / str(index))

    # Submitting.

    def _gres(self) -> str | None:
        """The generic resources to ask for, when all was checked: once for the same options."""
        known = self._shared.checked
        if self.options not in known:
            scheduler.require()
            if self._shared.cluster is None:
                self._shared.cluster = checks.nodes()
            gres = checks.check(self.options, self._shared.cluster)
            with tempfile.TemporaryDirectory() as folder:
                spool = Spool(Path(folder))
                file = Path(folder, "task.sh")
                file.write_text("#!/bin/sh\n")
                scheduler.test(file, script.flags(self.options, self.name, gres, 1, spool))
            if self.options.probe:
                self._probe()
            known[self.options] = gres
        return known[self.options]

    def _probe(self) -> None:
        folder = self._shared.runs_in or project.outputs()
        key = (os.environ.get("SLURM_CONF"), self.options.partition, checks.file_system(folder))
        if key not in _probed and not checks.is_network_file_system(folder):
            doubt = checks.probe(folder, self.options)
            if doubt is not None:
                print(f"warning: {doubt}", file=sys.stderr)
            _probed.add(key)

    def _submit(self, parcels: Sequence[Parcel], *, limits: Limits | None = None, values: bool = True) -> Submission:
        gres, run, limits = self._gres(), _run_of(parcels), limits or Limits()
        spool = self._shared.spool(run)
        width = min(len(parcels), self._shared.largest_array(len(parcels)))
        path = self._path(run, spool)
        about = About(
            path=path,
            whole_path=self.options.environment == "shared",
            argv=sys.argv,
            jobs=len(parcels),
            retries=self.options.retries,
            requeues=self.options.requeues,
            group=self.options.group,
            seconds=script.share(self.options),
            deadline=limits.deadline,
            max_failures=limits.max_failures,
            values=values,
            width=width,
        )
        spool.write(parcels, about)
        file = spool.path / "task.sh"
        file.write_text(script.script(self.options, spool, Path.cwd(), self._environment(spool)))
        name = script.title(self.name, [run.name] if run is not None else [])
        arrays: list[str] = []
        try:
            for first in range(0, len(parcels), width):
                tasks = min(width, len(parcels) - first)
                flags = script.flags(self.options, name, gres, tasks, spool)
                arrays.append(scheduler.submit(file, flags, str(first)))
                spool.say(replace(about, arrays=arrays))
        except BaseException:
            spool.cancel()
            if arrays:
                scheduler.cancel(arrays)
            raise
        return self._shared.follow(Submission(spool, arrays, width))

    def _path(self, run: Path | None, spool: Spool) -> list[str]:
        """Where the tasks import modules from."""
        path = [str(Path(entry).absolute()) for entry in sys.path]
        if self.options.environment == "uv":  # the rest is in the environment that is made there
            path = [entry for entry in path if "site-packages" not in entry and not entry.startswith(sys.base_prefix)]
        if run is None or not self.options.snapshot:
            return path
        return self._shared.snapshot(run, path)

    def _environment(self, spool: Spool) -> tuple[Path, str] | None:
        """With `environment=uv`: a folder with the lock as it is now, and what names the environment."""
        if self.options.environment != "uv":
            return None
        lock = project.lock()
        if lock is None:
            raise UsageError("apparatus.environment=uv needs a uv.lock in the project; make one with `uv lock`")
        target = spool.path / "project"
        target.mkdir()
        digest = blake2b(digest_size=8)
        for file in (lock, lock.with_name("pyproject.toml")):
            data = file.read_bytes()
            digest.update(data)
            (target / file.name).write_bytes(data)
        digest.update(f"{sys.version_info[:2]}".encode())
        return target, digest.hexdigest()


class _Shared:
    """What an apparatus and its views share.

    Args:
        root: The project's folder.
    """

    def __init__(self, root: Path) -> None:
        self.queue = Queue()
        self.cluster: list[checks.Nodes] | None = None
        self.checked: dict[SlurmOptions, str | None] = {}
        self.runs_in: Path | None = None
        self._root = root
        self.streams: weakref.WeakSet[SlurmStream] = weakref.WeakSet()
        self._submissions: list[Submission] = []
        self._snapshots: dict[Path, list[str]] = {}
        self._largest: int | None = None
        self._lock = threading.Lock()

    def spool(self, run: Path | None) -> Spool:
        """A place for a submission: in the run's folder, or beside all of them."""
        with self._lock:
            if run is None:
                parent = self._root / ".mini" / FOLDER
                parent.mkdir(parents=True, exist_ok=True)
                (parent.parent / ".gitignore").write_text("*\n")
            else:
                parent = run / FOLDER
            return Spool.new(parent)

    def follow(self, submission: Submission) -> Submission:
        """Take note of a submission, to remove its files at the end."""
        with self._lock:
            self._submissions.append(submission)
        return submission

    def snapshot(self, run: Path, path: list[str]) -> list[str]:
        """The source as it was when this process submitted the first jobs of a run."""
        with self._lock:
            if run not in self._snapshots:
                self._snapshots[run] = snapshot.take_next(path, self._root, run)
            return self._snapshots[run]

    def largest_array(self, jobs: int) -> int:
        """How many tasks an array may have; the cluster is asked only if there may be too many."""
        if jobs <= _ARRAY:
            return jobs
        if self._largest is None:
            said = scheduler.answer("scontrol", "show", "config")
            values = [line.partition("=")[2].strip() for line in said.splitlines() if line.startswith("MaxArraySize")]
            self._largest = max(1, int(values[0]) - 1) if values and values[0].isdecimal() else _ARRAY
        return self._largest

    def close(self) -> None:
        """Cancel what streams wait for, and remove the files of what is over."""
        for stream in list(self.streams):
            stream.close()
        over = [one for one in self._submissions if not one.open or one.spool.path.parents[1].name == ".mini"]
        arrays = [array for one in over if len(one.indices) > 1 for array in one.arrays]
        if arrays:  # tasks that wait, and would find nothing to do
            with contextlib.suppress(CloudError):
                scheduler.cancel(arrays)
        for one in over:
            one.spool.remove()


def _run_of(parcels: Sequence[Parcel]) -> Path | None:
    """The run that jobs belong to; None for those of none."""
    for parcel in parcels:
        job: Job = parcel.job
        if job.record and job.folder is not None:
            return Path(job.run).absolute() if job.run else Path(job.folder).absolute().parent
    return None
