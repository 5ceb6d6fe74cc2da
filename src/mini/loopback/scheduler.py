"""Gives inputs to containers, starts and ends these, and decides on what they had in hand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpclib.server import Server
from modal_proto import api_pb2

from mini.loopback import containers, crashes
from mini.loopback.containers import Container
from mini.loopback.logs import say
from mini.loopback.process import Process
from mini.loopback.sandboxes import Sandboxes
from mini.loopback.scaling import scaling
from mini.loopback.state import App, Function, Input, LogLine, PlaneState

_RESULT = api_pb2.GenericResult
_LOSSES = 8  # how often an input is given to another container after its own died; Modal's own limit
_MOST = 100  # containers of a function that sets no limit, however many of them wait
_TIMEOUT = 300  # seconds an attempt and a start may take, where the function says nothing; Modal's own
_ANSWER = 1.0  # seconds a container that stops its own app has left

_SOURCES: dict[int, api_pb2.FileDescriptor.ValueType] = {
    1: api_pb2.FILE_DESCRIPTOR_STDOUT,
    2: api_pb2.FILE_DESCRIPTOR_STDERR,
}


class Scheduler:
    """The queues of all functions and the containers that work them off.

    Args:
        state: The control plane's.
        serve: Makes a server for one container, to listen on a socket of its own.
        cores: How many containers run at once where a function sets no limit.
        end_processes: Ends the processes with a text in their environment, without waiting for it.
        sandboxes: Starts containers in roots of their own; None where they are processes among this machine's.
    """

    def __init__(
        self,
        state: PlaneState,
        serve: Callable[[Container], Server],
        cores: int,
        end_processes: Callable[[str], None],
        sandboxes: Sandboxes | None = None,
    ) -> None:
        self.state, self.serve, self.cores, self.sandboxes = state, serve, cores, sandboxes
        self._end_processes = end_processes
        self.containers: dict[str, Container] = {}
        self._given = 0
        self._background: set[asyncio.Task[Any]] = set()
        self._remover, self._closing = ThreadPoolExecutor(1, "mini-loopback-remover"), False

    # Inputs.

    def enqueue(self, item: Input, *, first: bool = False) -> None:
        """Give an input to a container that waits, or let it wait for one; `first` before all others."""
        function = item.call.function
        item.task_id = None
        if self.state.apps[function.app_id].stopped:
            self.finish(item, _cancelled())
            return
        while function.waiting:
            waiting = function.waiting.pop()
            if not waiting.done():
                waiting.set_result(item)
                return
        (function.queue.appendleft if first else function.queue.append)(item)
        self.rescale(function)

    async def next_input(self, container: Container) -> Input | None:
        """The next input of a container, when there is one; None if it shall end."""
        if not container.ready:
            container.ready = True
            if self.sandboxes is not None:
                self.sandboxes.measure(container)
            container.function.crashes.started()
            self.rescale(container.function)
        item = await self._wait_for_input(container)
        if item is None:
            return None
        if container.gone:  # it died while it waited
            self.enqueue(item, first=True)
            return None
        item.task_id, item.started = container.task_id, time.time()
        container.current[item.id] = item
        self._watch(container, item)
        self._given += 1
        self._disturb(container, item)
        return item

    async def _wait_for_input(self, container: Container) -> Input | None:
        function = container.function
        if container.stopping:
            return None
        if function.queue:
            return function.queue.popleft()
        waiting: asyncio.Future[Input | None] = asyncio.get_running_loop().create_future()
        function.waiting.add(waiting)
        container.waiting.add(waiting)
        try:
            while not waiting.done():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(waiting), scaling(function.created).idle)
                if not waiting.done() and len(function.tasks) > scaling(function.created).least:
                    container.stopping = True
                    return None
            return waiting.result()
        except asyncio.CancelledError:  # the container is gone; what it was about to get is another's
            item = waiting.result() if waiting.done() else None
            if item is not None:
                self.enqueue(item, first=True)
            raise
        finally:
            function.waiting.discard(waiting)
            container.waiting.discard(waiting)

    def fail_or_retry(self, item: Input, result: api_pb2.GenericResult, **fields: Any) -> None:
        """Take the result of an attempt: of a call that nobody waits for, the retries are made here."""
        policy = item.call.function.created.retry_policy
        again = (
            result.status in (_RESULT.GENERIC_STATUS_FAILURE, _RESULT.GENERIC_STATUS_TIMEOUT)
            and item.call.invocation == api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
        )
        if again and item.retry_count < policy.retries and not item.call.cancelled:
            item.retry_count += 1
            delay = min(
                policy.initial_delay_ms * max(1.0, policy.backoff_coefficient) ** (item.retry_count - 1),
                policy.max_delay_ms or 1000,
            )
            asyncio.get_running_loop().call_later(delay / 1000, self._retry, item)
        else:
            self.finish(item, result, **fields)

    def _retry(self, item: Input) -> None:
        if item.call.cancelled or self.state.apps[item.call.function.app_id].stopped:
            self.finish(item, _cancelled())
        else:
            self.enqueue(item)

    def finish(self, item: Input, result: api_pb2.GenericResult, **fields: Any) -> None:
        """Tell a caller what an input came to; only the first such word counts."""
        if item.output is not None:
            return
        item.output = api_pb2.FunctionGetOutputsItem(
            result=result,
            idx=item.idx,
            input_id=item.id,
            task_id=item.task_id or "",
            input_started_at=item.started,
            output_created_at=time.time(),
            retry_count=item.retry_count,
            **{"data_format": api_pb2.DATA_FORMAT_PICKLE, **fields},
        )
        item.call.outputs.append(item.output)
        item.call.changed.send()

    def cancel(self, item: Input, *, terminate: bool = False) -> None:
        """End an input that is not over; `terminate` ends its container too."""
        if item.output is not None:
            return
        container = self.containers.get(item.task_id or "")
        if container is None or item.id not in container.current:
            with contextlib.suppress(ValueError):
                item.call.function.queue.remove(item)
            self.finish(item, _cancelled())
        elif terminate:
            container.current.pop(item.id)
            self.finish(item, _cancelled())
            container.preempted = True  # its other inputs lose no attempt
            container.kill()
        else:
            container.to_cancel.append(item.id)
            container.cancel.set()

    # Containers.

    def running(self, app: App) -> list[Container]:
        """The containers of an app."""
        functions = [one for one in self.state.functions.values() if one.app_id == app.id]
        return [self.containers[task_id] for function in functions for task_id in sorted(function.tasks)]

    def busy(self, app: App) -> bool:
        """Whether an app has anything left to do."""
        calls = (call for call in self.state.calls.values() if call.function.app_id == app.id)
        return any(item.output is None for call in calls for item in call.inputs.values())

    def published(self, app: App) -> None:
        """A version of an app is there: containers of an earlier one end with what they have in hand."""
        for container in self.running(app):
            function = container.function
            if (
                container.definition != function.definition
                or (function.base or function.id) not in app.functions.values()
            ):
                container.stop()
        for function_id in app.functions.values():
            if function_id in self.state.functions:
                self.rescale(self.state.functions[function_id])

    def rescale(self, function: Function) -> None:
        """Start as many containers as there is work for; one at a time while they die at their start."""
        app = self.state.apps[function.app_id]
        if app.stopped or function.definition is None:
            return
        limits = scaling(function.created)
        # One that waits for others, as a function that calls itself does, must not keep these from starting.
        waiting = sum(self.containers[task_id].waits > 0 for task_id in function.tasks)
        cap = 1 if function.crashes.deaths else limits.most or min(self.cores + waiting, _MOST)
        least = limits.least if function.id in app.functions.values() else 0
        busy = sum(bool(self.containers[task_id].current) for task_id in function.tasks)
        wanted = max(len(function.queue) + busy if function.queue else 0, least)
        while len(function.tasks) < min(cap, wanted):
            task_id = self.state.new_id("ta")
            container = Container(task_id, function, self.state.folder / "containers" / task_id)
            container.definition = function.definition
            self.containers[task_id] = container
            function.tasks.add(task_id)
            self._spawn(self._run(container))

    async def _run(self, container: Container) -> None:
        """A container's life, from its files to the decision on what it had in hand."""
        function = container.function
        app = self.state.apps[function.app_id]
        died = ""
        returncode: int | None = None
        try:
            await asyncio.sleep(function.crashes.pause + self.state.faults.cold_start)
            if not container.stopping:
                container.process = await self._start(container, app)
                if container.stopping:  # in the meantime
                    container.kill()
                returncode = await container.process.wait()
                self._end_processes(f"MODAL_TASK_ID={container.task_id}")  # those that have left its process group
                place = self.sandboxes.end(container, returncode) if self.sandboxes is not None else ""
                died = crashes.describe(returncode, container.process.tail, place)
                left_out = [name for view in container.views.values() for name in view.end(commit=returncode == 0)]
                if left_out:
                    said = f"not on the volume, as neither files nor folders: {', '.join(left_out)}\n"
                    self._log(app, container, said, api_pb2.FILE_DESCRIPTOR_INFO)
        except Exception as error:  # noqa: BLE001 - whatever keeps a container from starting is told to its inputs
            died = crashes.describe(None, f"{type(error).__name__}: {error}")
        finally:
            container.gone = True
            function.tasks.discard(container.task_id)
            for waiting in list(container.waiting):
                function.waiting.discard(waiting)
                if not waiting.done():
                    waiting.set_result(None)
            if container.server is not None:
                container.server.close()
            if not self._closing:  # else all goes together
                with contextlib.suppress(RuntimeError):  # this process is ending, and its folder goes with it
                    self._remover.submit(containers.remove, container)
            self._settle(container, app, died, returncode)

    async def _start(self, container: Container, app: App) -> Process:
        command, environment = containers.prepare(self.state, container, app)
        if self.state.faults.startup_exit is not None:
            command = ["sh", "-c", f"exit {self.state.faults.startup_exit}"]
        container.server = self.serve(container)
        await container.server.start(path=str(container.socket))
        container.socket.chmod(0o600)

        def emit(text: str, fd: int) -> None:
            self._log(app, container, text, _SOURCES[fd])

        if self.sandboxes is not None and not command:
            process: Process = await self.sandboxes.start(container, environment, emit)
        else:
            folder = container.root / "root"
            folder.mkdir(exist_ok=True)
            process = await Process.start(emit, command, environment, folder)
        # Where none is said for the start, Modal's client sends an attempt's; a slow machine shall not fail for that.
        given, attempt = container.function.created.startup_timeout_secs, container.function.created.timeout_secs
        limit = given if given != attempt else max(given, _TIMEOUT)
        asyncio.get_running_loop().call_later(limit, self._late, container, limit)
        return process

    def _late(self, container: Container, limit: float) -> None:
        if not container.ready and not container.gone:
            why = f"Function failed to start: the container was not ready within its startup timeout of {limit:g} s"
            container.failure = _RESULT(status=_RESULT.GENERIC_STATUS_INIT_FAILURE, exception=why)
            container.kill()

    def measure(self, container: Container) -> None:
        """See how much memory a container has had, where that is known."""
        if self.sandboxes is not None:
            self.sandboxes.measure(container)

    def _settle(self, container: Container, app: App, died: str, returncode: int | None) -> None:
        """Decide on the inputs of a container that is gone, and on whether another follows it."""
        function = container.function
        for item in list(container.current.values()) if container.out_of_memory else ():
            limit = function.created.resources.memory_mb_max
            why = f"Container {container.task_id} was killed: it ran out of memory (OOM); its limit is {limit} MiB"
            self.finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_FAILURE, exception=why))
            container.current.pop(item.id)
        for item in list(container.current.values()):
            item.losses += not container.preempted
            if app.stopped or item.call.cancelled:
                self.finish(item, _cancelled())
            elif item.losses > _LOSSES:
                why = f"Input aborted - exceeded limit of {_LOSSES} retries: the container {died}"
                result = _RESULT(status=_RESULT.GENERIC_STATUS_FAILURE, exception=why, exitcode=_exit_code(returncode))
                self.finish(item, result)
            else:
                self.enqueue(item, first=True)
        container.current.clear()
        if not container.ready and not container.stopping:
            self._died_at_start(container, app, died, returncode)
        if app.stopped:
            self._close_logs(app)
        else:
            self.rescale(function)

    def _died_at_start(self, container: Container, app: App, died: str, returncode: int | None) -> None:
        function = container.function
        if container.failure is not None:  # it said why, and so would the next one
            self._fail_all(function, container.failure)
            return
        function.crashes.died(died)
        if function.crashes.limit_reached and not app.deployed:
            result = _RESULT(
                status=_RESULT.GENERIC_STATUS_INIT_FAILURE,
                exception=function.crashes.reason,
                exitcode=_exit_code(returncode),
            )
            self._fail_all(function, result)
            function.crashes.gave_up()
        else:
            said = f"the container {died.splitlines()[0]}; the next starts in {function.crashes.pause:g} s\n"
            self._log(app, container, said, api_pb2.FILE_DESCRIPTOR_INFO)

    def _fail_all(self, function: Function, result: api_pb2.GenericResult) -> None:
        while function.queue:
            self.finish(function.queue.popleft(), result)

    def stop_app(self, app: App, *, asking: str = "", why: str = "") -> None:
        """End the containers of an app and whatever it was asked for.

        Args:
            app: The app.
            why: What its logs say of it, if anything.
            asking: The container that asks for it, if it is one of them: it goes once it had its answer.
        """
        if app.stopped:
            return
        app.stopped_at = time.time()
        if why:
            say(app, LogLine(f"the app is stopped: {why}\n", api_pb2.FILE_DESCRIPTOR_INFO, "", ""))
        for function in [one for one in self.state.functions.values() if one.app_id == app.id]:
            self._fail_all(function, _cancelled())
            for task_id in function.tasks:
                container = self.containers[task_id]
                container.stop()
                if task_id == asking:
                    asyncio.get_running_loop().call_later(_ANSWER, container.kill)
                else:
                    container.kill()
        self._close_logs(app)

    def _close_logs(self, app: App) -> None:
        """Once the last container of a stopped app is gone, nothing more is printed."""
        app.over = not any(one.tasks for one in self.state.functions.values() if one.app_id == app.id)
        app.logged.send()

    def _log(self, app: App, container: Container, text: str, source: api_pb2.FileDescriptor.ValueType) -> None:
        # Of several inputs in hand at once nobody can tell which one printed it.
        only = next(iter(container.current.values())) if len(container.current) == 1 else None
        call_id, input_id = (only.call.id, only.id) if only is not None else ("", "")
        say(app, LogLine(text, source, container.task_id, container.function.id, call_id, input_id))

    def _watch(self, container: Container, item: Input) -> None:
        """Stop an attempt that runs for longer than the function allows."""
        started, limit = item.started, container.function.created.timeout_secs or _TIMEOUT

        def expire() -> None:
            if item.output is None and item.started == started and item.id in container.current:
                del container.current[item.id]
                why = f"Task's current input {item.id} hit its timeout of {limit}s"
                self.fail_or_retry(item, _RESULT(status=_RESULT.GENERIC_STATUS_TIMEOUT, exception=why))
                container.kill()

        asyncio.get_running_loop().call_later(limit, expire)

    def _disturb(self, container: Container, item: Input) -> None:
        """What a test wants to go wrong with an input that was just given."""
        faults, loop = self.state.faults, asyncio.get_running_loop()
        if faults.kill_every and self._given % faults.kill_every == 0:
            loop.call_later(0.01, container.kill)
        if faults.preempt_every and self._given % faults.preempt_every == 0:
            self.preempt(container)
        if faults.out_of_memory:
            why = f"Container {container.task_id} was killed: it ran out of memory (OOM)"
            container.current.pop(item.id)
            self.finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_FAILURE, exception=why))
            container.kill()

    def preempt(self, container: Container) -> None:
        """Take a container away as Modal does: it gets SIGINT, and after some seconds SIGKILL."""
        container.preempted = True
        container.stop()
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, container.interrupt)
        loop.call_later(self.state.faults.preempt_grace, container.kill)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End every container."""
        self._closing = True
        for app in self.state.apps.values():
            self.stop_app(app)
        for container in self.containers.values():
            container.stop()
            container.kill()
        if self._background:
            await asyncio.wait(self._background, timeout=10)
        if self.sandboxes is not None:
            await self.sandboxes.close()
        self._remover.shutdown()


def _cancelled() -> api_pb2.GenericResult:
    return _RESULT(status=_RESULT.GENERIC_STATUS_TERMINATED, exception="Input was cancelled")


def _exit_code(returncode: int | None) -> int:
    """As a shell has it: 128 and the signal's number."""
    if returncode is None:
        return 0
    return returncode if returncode >= 0 else 128 - returncode
