"""Jobs on Modal's cloud."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mini.apparatus.base import Apparatus
from mini.apparatus.groups import Image
from mini.apparatus.modal import archive, container, explain, extra, ledger, preflight, resources
from mini.apparatus.modal.client import valid_name
from mini.apparatus.modal.image import build, installed, left_out, source
from mini.apparatus.modal.image.plan import Plan, plan, too_large
from mini.apparatus.modal.image.requirements import Requirements
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.modal.session import Session, function_options
from mini.apparatus.modal.stream import UNLIMITED_WIDTH, ModalStream
from mini.apparatus.modal.volume import ModalVolume, name_on_volume
from mini.apparatus.options import fields
from mini.apparatus.stream import Stream
from mini.errors import CloudError, ImageError, OptionError, UsageError, did_you_mean
from mini.job import Job, JobError
from mini.limits import Limits
from mini.project import root
from mini.runs import layout
from mini.runs.folder import RunFolder
from mini.worker import pickling
from mini.worker.pickling import Parcel


class ModalApparatus(Apparatus):
    """Runs jobs in containers on Modal.

    Nothing is contacted before the first job or the first look at the volume. Then token and network are checked, the
    image is built, and an app is opened for each distinct set of options; it serves all maps until `close`.

    A job's folder is on a volume; run folders look there as they do under `outputs/` on a local disk.

    Args:
        name: Of the app and, in lower case, of the volume.
        volume: The volume's name, if it is another.
        project: The folder with `pyproject.toml` and `src/`; None for the one around the working directory.
        options: Every option of `modal.App.function` (`gpu`, `timeout`, `retries`, `cpu`, `memory`, `max_containers`,
            `region`, `secrets`, `volumes`, …). `gpu` may be a list, in the order of preference; `timeout` is 3600 s if
            nothing is said. `image`: a `modal.Image`, or the values of the group `image`. `logs` (bool): show what
            jobs print. `pull` (MiB): files up to this size come home when a run is over, larger ones stay on the
            volume; None for all. `pull_total` (MiB): how much comes home of a run altogether. `result_limit` (MiB): how
            large a returned value may be, 32 if nothing is said. `secrets` and `volumes` may be names. `pass_env`:
            names of variables of this environment that jobs get too. `environment`: Modal's environment. `group`
            (int): how many short jobs go into one input; None for as many as makes half a second of work by what the
            first took, 1 for each alone. With `retries`, `single_use_containers` or a `timeout` under a minute each
            goes alone.

    Raises:
        OptionError: An option is unknown or its value impossible; the message names the near ones.
    """

    kind = "modal"
    options_type = ModalOptions
    files_are_here = False
    goes_on_alone = True
    options: ModalOptions

    def __init__(
        self, name: str = "mini", *, volume: str | None = None, project: Path | None = None, **options: Any
    ) -> None:
        extra.require(f"apparatus={self.kind}")
        super().__init__(name, **options)
        valid = valid_name(name)
        self._project = project or root()
        self._session = Session(
            valid, volume or valid.lower(), self.credentials, self._container, self.options.environment
        )

    @property
    def volume(self) -> ModalVolume:
        """Where the jobs leave their files."""
        return self._session.volume

    def credentials(self) -> tuple[str, tuple[str, str]]:
        """The server's address and the token.

        Raises:
            TokenError: There is no token.
        """
        from modal.config import config

        return config.get("server_url"), preflight.require_token()

    def ready(self) -> None:
        """Connect, build the image and open the app.

        Raises:
            CloudError: Modal cannot be reached, refuses the token or cannot build the image.
        """
        self._require_open()
        self._session.function(self.options)

    def require_detachable(self) -> None:
        """Connect, build the image, and see that its containers start.

        Modal starts those of a deployed app again and again if they die at their start, and nothing that runs in them
        could end that. So the image is tried first, in an app that ends with this process.

        Raises:
            CloudError: As `ready`.
            ImageError: The containers do not start.
        """
        self._session.client()
        self._try()

    def detach(
        self, folder: RunFolder, parts: Sequence[tuple[Self, Sequence[Parcel]]], limits: Limits
    ) -> dict[str, Any]:
        """Deploy an app of the run's own, and make one call for each of its parts; no client is needed then."""
        self.announce(folder)
        parcels = [parcel for _, of_part in parts for parcel in of_part]
        with tempfile.TemporaryDirectory() as temporary:
            for digest, data in {p.shared.digest: p.shared.data for p in parcels}.items():
                Path(temporary, digest).write_bytes(data)
            self.volume.upload(temporary, container.FUNCTIONS)
        known = {ledger.RUN: self.place(folder.path), ledger.JOBS: str(len(parcels))}
        if limits.max_failures is not None:
            known[ledger.MAX_FAILURES] = str(limits.max_failures)
        if limits.deadline is not None:
            known[ledger.DEADLINE] = repr(limits.deadline)
        inputs = [
            (view.options, [container.message(p.shared.digest, None, [p.data]) for p in of_part])
            for view, of_part in parts
        ]
        place = self._session.deploy(folder.id, inputs, known)
        calls = [
            {"id": call, "jobs": [p.job.index for p in of_part]}
            for call, (_, of_part) in zip(place["calls"], parts, strict=True)
        ]
        return {**place, "calls": calls}

    def _try(self) -> None:
        try:
            self._small().run(abs, 0)
        except JobError as error:
            why = error.outcome.failure.message if error.outcome.failure is not None else str(error)
            raise ImageError(f"containers of this image do not start, and nothing was deployed: {why}") from error

    def announce(self, folder: RunFolder) -> None:
        """Put what a run has been asked on the volume, where others look for it."""
        with tempfile.TemporaryDirectory() as chosen:
            for name in (layout.RUN, layout.JOBS, layout.CODE, layout.MULTIRUN, layout.DRIVER):
                with contextlib.suppress(FileNotFoundError):
                    Path(chosen, name).write_bytes((folder.path / name).read_bytes())
            self.volume.upload(chosen, name_on_volume(folder.path))

    def collect(self, folder: RunFolder, jobs: Sequence[Job]) -> None:
        """Combine the run where its files are, and bring home the table and what is small enough.

        Args:
            folder: The run.
            jobs: Those of its jobs that ran here.
        """
        run = name_on_volume(folder.path)
        folders = [os.path.relpath(job.folder, folder.path) for job in jobs if job.folder]
        own = self.options
        limits = [None if limit is None else int(limit * 2**20) for limit in (own.pull, own.pull_total)]
        packed, too_much = self._gather(run, folders, *limits)
        with tempfile.TemporaryDirectory() as temporary:
            home = self.volume.download(packed, Path(temporary, "home.tar.gz"))
            archive.unpack(home, folder.path, folders, *limits)
        self.volume.remove(packed)
        if too_much:
            _say(f"{too_much} files stay on {self.volume!r}, as all have more than apparatus.pull_total MiB together")

    def _small(self) -> Self:
        """A view for what needs the image, and neither a GPU nor more than a core.

        Where the jobs ask for no more either, it shares their app, which is open, and their containers, which are warm.
        """
        own = self.options
        kept = ("name", "logs", "environment", "image", "secrets", "volumes", "env", "isolated", "network")
        return self._viewing(type(own)(**{name: getattr(own, name) for name in kept if hasattr(own, name)}))

    def _gather(self, *arguments: Any) -> Any:
        """Call `container.gather`, and once more in a new container if that of a job cannot do it."""
        small = self._small()
        try:
            return small.run(container.gather, *arguments)
        except CloudError:
            raise
        except Exception as error:
            asked = {name: getattr(self.options, name) for name in ("pull", "pull_total", "group")}
            if replace(small.options, **asked) != self.options:  # no job has been in that container
                raise
            _say(f"the run is combined in a new container, as one that had a job cannot do it: {error}")
        # Another set of options has an app of its own.
        return self._viewing(replace(small.options, max_containers=1)).run(container.gather, *arguments)

    def place(self, run: Path) -> str:
        """As on any apparatus: on the volume, which is mounted where a container starts."""
        return f"{container.OUTPUTS}/{name_on_volume(run)}"

    def encode(self, jobs: Sequence[Job]) -> list[Parcel]:
        """As everywhere; and the folders of the jobs become those on the volume."""
        parts = _plan(self._spec, self._project).source.shipped
        with pickling.by_value(source.by_value(parts)):
            return super().encode([self._moved(job) if job.record and job.folder else job for job in jobs])

    def _moved(self, job: Job) -> Job:
        """The job with its folder as it is on the volume."""
        assert job.folder is not None
        run = Path(job.run) if job.run else Path(job.folder).parent
        place = self.place(run)
        self._session.homes[place] = str(run.absolute())
        return replace(job, folder=f"{place}/{Path(os.path.relpath(job.folder, run)).as_posix()}")

    def plan(self) -> Plan | None:
        """What the image is made of; None where a `modal.Image` was given.

        Raises:
            UsageError: As `mini.image.plan`.
        """
        given = self.options.image
        return _plan(self._spec, self._project) if given is None or isinstance(given, Image) else None

    def own_requirements(self) -> Requirements:
        """What is installed in an image of the user's own."""
        return build.own_requirements(_plan(self._spec, self._project))

    @property
    def _spec(self) -> Image:
        """The values of the group `image`; its defaults where a `modal.Image` was given."""
        return self.options.image if isinstance(self.options.image, Image) else Image()

    def manifest(self) -> dict[str, Any]:
        """The plan of the image and the name of the volume, for `run.json`."""
        made = self.plan()
        where = {"volume": {"name": self.volume.name, "environment": self.options.environment}}
        return {**where, **({"image": made.as_json()} if made is not None else {})}

    def _ensure_image(self) -> Any:
        """The `modal.Image` for these options: made once in a process for what is equal."""
        made = self.plan()
        if made is not None:
            return _image(made)
        return build.complete(self.options.image, _plan(self._spec, self._project))

    def _container(self, options: ModalOptions) -> tuple[Any, Mapping[str, str]]:
        """The image for some options, and what its containers find in their environment."""
        view = self._viewing(options)
        image, known = view._ensure_image(), {container.APPARATUS: self.kind}
        made = view.plan()
        return image, {**known, **({explain.LEFT_OUT: left_out.describe(made, self._project)} if made else {})}

    @property
    def width(self) -> int:
        """As many as `max_containers`; else a few, as nothing is known of how many there would be."""
        return int(self.options.max_containers or UNLIMITED_WIDTH)

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        return ModalStream(self._session, self.options, parcels)

    def _close(self) -> None:
        self._session.close()

    def _folder(self, batch: str, index: int) -> str:
        return f"{container.OUTPUTS}/{self._session.name}/{batch}/{index}"

    def view(self, options: ModalOptions) -> Self:
        """As `w`, with all options at once.

        Raises:
            OptionError: Modal would refuse one of them.
        """
        resources.check(options)
        return super().view(options)

    def _viewing(self, options: ModalOptions) -> Self:
        return self.view(options).without_hooks()

    def _with(self, before: Any, given: Mapping[str, Any]) -> Any:
        known = fields(self.options_type)
        others = {name: value for name, value in given.items() if name not in known}
        for name in others:
            if name not in function_options():
                valid = {*known, *function_options()}
                raise OptionError(f"{type(self).__name__} has no option {name!r}; {did_you_mean(name, valid)}")
        own = {name: value for name, value in given.items() if name in known}
        if others:
            own["extra"] = {**dict(before.extra), **others}
        made = super()._with(before, own)
        resources.check(made)
        return made


@functools.cache
def _plan(spec: Image, project: Path) -> Plan:
    made = plan(spec, project)
    if not made.requirements.locked:
        _say(installed.NOTE)
    return made


@functools.cache
def _say(what: str) -> None:
    """To the person at the terminal, once."""
    print(what, file=sys.stderr)


@functools.cache
def _image(made: Plan) -> Any:
    large = too_large(made)
    if large and not (sys.stdin.isatty() and input(f"{large}. Go on? [y/N] ").strip().lower() in ("y", "yes")):
        raise UsageError(
            f"{large}, which is nearly always a mistake; move what is large out of src/ and image.files, "
            "or allow it with image.max_upload=MIB (null: any size)"
        )
    return build.make_image(made)
