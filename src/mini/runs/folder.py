"""One run's folder: begin a run there, be the one who drives it, list its jobs and their records."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mini.errors import RecordError, RunFolderError
from mini.job import Job
from mini.runs import layout, masking, records
from mini.runs.files import dump_json, remove_abandoned, write_atomically
from mini.runs.jobs import JobLine, append_jobs, read_jobs
from mini.runs.records import Record

_LOCK_TIMEOUT = 1.0  # seconds; whoever only looks holds the lock for far less


class RunFolder:
    """One run's files.

    Args:
        path: The folder of the run.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()

    @property
    def id(self) -> str:
        """The run's name."""
        return self.path.name

    # Beginning a run.

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Begin a run here.

        Args:
            manifest: What goes into `run.json`: JSON values; secrets in it are masked.

        Raises:
            RunFolderError: There is a run already, or the folder cannot be written.
        """
        if (self.path / layout.RUN).exists():
            raise self._in_use(layout.RUN)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            data = dump_json({"version": layout.VERSION, **masking.mask(manifest)}, indent=2) + b"\n"
            write_atomically(self.path / layout.RUN, data)
        except OSError as error:
            raise self._unwritable(error) from error

    def add_engines(self, kinds: Iterable[str]) -> None:
        """Note that jobs of this run go to engines that its manifest may not have, so that whoever looks asks them too.

        Args:
            kinds: The engines.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        manifest = self.manifest()
        before = [str(kind) for kind in manifest.get("apparatus") or ()]
        if not set(kinds) <= set(before):
            data = dump_json({**manifest, "apparatus": sorted({*before, *kinds})}, indent=2) + b"\n"
            try:
                write_atomically(self.path / layout.RUN, data)
            except OSError as error:
                raise self._unwritable(error) from error

    def require_new(self) -> None:
        """Refuse a folder that a run has left something in, or that cannot be written.

        Raises:
            RunFolderError: The folder holds a run, or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(error) from error
        for name in layout.RUN_FILES:
            if (self.path / name).exists():
                raise self._in_use(name)

    def require_free(self, jobs: Iterable[Job]) -> None:
        """Refuse jobs whose folder is in use, by another job or by files from before.

        Raises:
            RunFolderError: Naming the folder.
        """
        taken: dict[str, int] = {}
        for job in jobs:
            assert job.folder is not None
            if job.folder in taken:
                raise RunFolderError(
                    f"jobs {taken[job.folder]} and {job.index} would both write to {job.folder}; "
                    "let hydra.sweep.subdir differ between them, for instance ${hydra.job.num}"
                )
            taken[job.folder] = job.index
            if Path(job.folder).is_dir() and next(Path(job.folder).iterdir(), None):
                raise RunFolderError(
                    f"the folder of job {job.index}, {job.folder}, is not empty, and is never overwritten; "
                    "choose another with hydra.sweep.dir=FOLDER, or remove it"
                )

    def set_aside(self) -> None:
        """Rename the folder, if a run left something in it, by the time of its last change."""
        if any((self.path / name).exists() for name in layout.RUN_FILES):
            changed = time.strftime("%Y%m%d-%H%M%S", time.localtime(self.path.stat().st_mtime))
            names = itertools.chain([changed], (f"{changed}-{i}" for i in itertools.count(2)))
            aside = next(p for name in names if not (p := self.path.with_name(f"{self.path.name}~{name}")).exists())
            self.path.rename(aside)

    def forget(self) -> None:
        """Remove the folder if no run began in it: if it is empty, or has only what Hydra's sweeper left."""
        with contextlib.suppress(OSError):
            if not {path.name for path in self.path.iterdir()} - {layout.MULTIRUN}:
                (self.path / layout.MULTIRUN).unlink(missing_ok=True)
                self.path.rmdir()

    def add_jobs(self, jobs: Iterable[Job]) -> None:
        """List jobs that are about to run, in `jobs.jsonl`: all of them or none.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        try:
            append_jobs(self.path, jobs)
        except OSError as error:
            raise self._unwritable(error) from error

    def _in_use(self, name: str) -> RunFolderError:
        return RunFolderError(
            f"the run folder {self.path} exists already (it has a {name}), and is never overwritten; choose another "
            "with hydra.sweep.dir=FOLDER, or set this one aside with hydra.launcher.if_exists=set_aside"
        )

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"cannot write the run folder {self.path}: {error.strerror or error}; "
            "choose another with hydra.sweep.dir=FOLDER"
        )

    # Driving one.

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one process that drives this run. The kernel ends that when the process dies, whatever it died of.

        Raises:
            RunFolderError: Another process does.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            self._lock(handle)
            remove_abandoned(self.path)
            (self.path / layout.CANCEL).unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                raise RunFolderError(
                    f"another process runs {self.id} now; watch it with `mini watch {self.id}`, "
                    f"or stop it with `mini cancel {self.id}`"
                ) from None
            except OSError:  # a file system without locks
                pass
            return

    def is_driven(self) -> bool:
        """Whether a process on this machine drives this run now."""
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def cancel(self) -> None:
        """Ask whoever drives this run to stop it."""
        (self.path / layout.CANCEL).touch()

    def is_cancelled(self) -> bool:
        """Whether somebody wants this run to stop."""
        return (self.path / layout.CANCEL).exists()

    # Reading one.

    def has_run(self) -> bool:
        """Whether a run began here."""
        return (self.path / layout.JOBS).exists()

    def manifest(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            RunFolderError: There is no run here, or one of a newer version.
            RecordError: The file is damaged.
        """
        path = self.path / layout.RUN
        try:
            manifest = json.loads(path.read_bytes())
            version = int(manifest["version"])
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is not a run folder: it has no {layout.RUN}") from error
        except OSError as error:
            raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error!r}") from error
        if version > layout.VERSION:
            raise RunFolderError(
                f"{self.path} is a run of a newer version of this package (format {version}, and this one knows "
                f"{layout.VERSION}); update it"
            )
        assert isinstance(manifest, dict)
        return manifest

    def jobs(self) -> list[JobLine]:
        """The run's jobs, by index.

        Raises:
            RunFolderError: There is no run here.
        """
        return read_jobs(self.path)[0]

    def records(self) -> Iterator[tuple[JobLine, Record | RecordError | None]]:
        """Each job with its record; None where there is none yet, the error where it is damaged.

        Raises:
            RunFolderError: There is no run here.
        """
        return records.read_standing(self.jobs(), records.read_bulk(self.path)[0])
