"""A connection to a Ray cluster, and what its nodes have."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mini.errors import CloudError, UsageError
from mini.machine import cores

_STORE = 256 * 2**20  # bytes of the object store of a cluster of our own: results go through files
_DOOR = 10.0  # seconds for a cluster's port to answer
_PROBE = 60.0  # seconds a node has to say whether it sees a folder
_ACCELERATOR = "accelerator_type:"


class Cluster:
    """A cluster, connected to when it is first needed; one of its own ends with `close`.

    Args:
        address: As the option `apparatus.address`; without one that of the variable `RAY_ADDRESS`, as Ray does it.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self._is_ours = self._is_connected = False
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    @property
    def name(self) -> str:
        """As a user would call it."""
        return "the Ray cluster on this machine" if self.address is None else f"the Ray cluster at {self.address}"

    def connect(self) -> None:
        """Connect, unless that is done, or the program has connected itself.

        Raises:
            UsageError: Ray is not installed, or the cluster is of another Ray or Python.
            CloudError: It cannot be reached.
        """
        with self._lock:
            if not self._is_connected:
                self._connect()
                self._is_connected = True

    def _connect(self) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError(
                "apparatus=ray needs ray, which the extra `ray` brings and this environment does not have; "
                "run `uv add 'hydra-apparatus[ray]'` or `pip install 'hydra-apparatus[ray]'`"
            ) from None
        if ray.is_initialized():
            return
        own: dict[str, Any] = {}
        if self.address is None:
            own = {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": _STORE}
        try:
            if self.address is not None:
                _require_listening(self.address)
            with _own_debugger():
                ray.init(
                    self.address or "local",
                    logging_level=logging.ERROR,
                    log_to_driver=True,
                    namespace=f"mini-{secrets.token_hex(4)}",
                    **own,
                )
        except (ConnectionError, TimeoutError, OSError) as error:
            advice = "`ray start --head` begins one; apparatus.address=null makes one for this command alone"
            raise CloudError(f"{self.name} cannot be reached ({_first_line(error)}); {advice}") from error
        except (RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())
            if "ersion" in said:
                raise UsageError(
                    f"{self.name} has other versions: {said}; install what it has, here or there"
                ) from error
            raise CloudError(f"{self.name} cannot be used: {said}") from error
        self._is_ours = True

    def nodes(self) -> list[Mapping[str, Any]]:
        """The nodes that are alive, as `ray.nodes()` describes them."""
        import ray

        self.connect()
        return [node for node in ray.nodes() if node["Alive"]]

    def room(self, needs: Mapping[str, Any]) -> int:
        """How many actors of some needs the cluster has room for when nobody else uses it.

        Args:
            needs: The options of an actor.
        """
        wanted = dict(_amounts(needs))
        if not wanted:
            return cores()
        rooms = (
            min(math.floor(node["Resources"].get(name, 0.0) / amount) for name, amount in wanted.items())
            for node in self.nodes()
        )
        return sum(rooms)

    def require(self, needs: Mapping[str, Any]) -> None:
        """See that a node has what a job needs.

        Raises:
            UsageError: None has; says what the nodes have.
        """
        if self.room(needs):
            return
        asked = ", ".join(f"{amount:g} {_shown(name)}" for name, amount in _amounts(needs))
        nodes = "; ".join(sorted({_described(node) for node in self.nodes()}))
        raise UsageError(f"no node of {self.name} has {asked}; there is {nodes}")

    def require_shared(self, folder: Path) -> None:
        """See that every node sees a folder, which is where jobs leave their files. Asked once for each folder.

        Raises:
            UsageError: One does not; names it.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.connect()
        folder = folder.absolute()
        if self.address is None or str(folder) in self._seen:
            return
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / f".mini-{secrets.token_hex(8)}"
        mark.touch()
        try:
            probe, asked = ray.remote(_sees), {}
            for node in self.nodes():
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
                asked[probe.options(**options).remote(str(mark))] = node["NodeManagerHostname"]
            answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_PROBE)
            blind = sorted({asked[one] for one in answered if not _answer(one)})
        finally:
            mark.unlink(missing_ok=True)
        if blind:
            raise UsageError(
                f"{folder} is not seen by {', '.join(blind)} of {self.name}; start from a folder that all nodes share"
            )
        self._seen.add(str(folder))

    def close(self) -> None:
        """Leave the cluster; one of its own ends."""
        with self._lock:
            if self._is_ours:
                import ray

                ray.shutdown()
            self._is_ours = self._is_connected = False


@contextlib.contextmanager
def _own_debugger() -> Iterator[None]:
    """Leave `breakpoint()` as it is in this process; Ray would make it its own."""
    before = os.environ.get("PYTHONBREAKPOINT")
    try:
        yield
    finally:
        os.environ.pop("PYTHONBREAKPOINT", None)
        if before is not None:
            os.environ["PYTHONBREAKPOINT"] = before


def needs(options: Any) -> dict[str, Any]:
    """What Ray's scheduler must give to a job, as the options of an actor.

    Args:
        options: Of the engine. Of a list of GPU types the first is taken that any node has.
    """
    name, _, count = str(_first(options.gpu) or "").partition(":")
    gpus = options.num_gpus if options.num_gpus is not None else float(count or 1) if name else 0.0
    found: dict[str, Any] = {"num_cpus": options.num_cpus}
    if gpus:
        found["num_gpus"] = gpus
    resources = dict(options.resources)
    if resources:
        found["resources"] = resources
    if name and name.upper() != "ANY":
        found["accelerator_type"] = name.upper()
    return found


def _first(gpu: Any) -> Any:
    return gpu[0] if isinstance(gpu, list | tuple) else gpu


def _amounts(needs: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield from ((word, needs[key]) for key, word in (("num_cpus", "CPU"), ("num_gpus", "GPU")) if needs.get(key))
    yield from needs.get("resources", {}).items()
    if "accelerator_type" in needs:
        yield _ACCELERATOR + needs["accelerator_type"], 0.001  # as Ray does it


def _shown(name: str) -> str:
    return name.removeprefix(_ACCELERATOR)


def _described(node: Mapping[str, Any]) -> str:
    had = {
        _shown(name): amount
        for name, amount in node["Resources"].items()
        if not name.startswith(("node:", "memory", "object_store_memory"))
    }
    return f"{node['NodeManagerHostname']} with " + ", ".join(
        f"{amount:g} {name}" for name, amount in sorted(had.items())
    )


def _answer(probe: Any) -> bool:
    import ray
    from ray.exceptions import RayError

    try:
        return bool(ray.get(probe))
    except RayError:  # the node is gone
        return True


def _require_listening(address: str) -> None:
    """Ask at the door first: Ray itself tries for minutes."""
    place = urlsplit(address if "://" in address else f"ray://{address}")
    if place.hostname is None or place.port is None:  # `auto`, or as Ray will say
        return
    socket.create_connection((place.hostname, place.port), timeout=_DOOR).close()


def _sees(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - this function travels


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
