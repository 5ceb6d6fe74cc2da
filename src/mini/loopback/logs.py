"""What containers print, as it comes and afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from mini.loopback.state import App, LogLine, PlaneState, look_up

_STREAM = 55.0  # seconds a stream of logs is open where the client does not say
_FETCH = 20_000  # lines, where the client does not say; `_FETCH_LIMIT` of Modal's `_logs.py`

_Filters = api_pb2.AppGetLogsRequest | api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest


class Logs:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
    """

    def __init__(self, state: PlaneState) -> None:
        self.state = state

    async def AppGetLogs(self, request: api_pb2.AppGetLogsRequest) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        app = look_up(self.state.apps, request.app_id, "App")
        seen = int(request.last_entry_id.split("-")[0] or 0)
        deadline = time.monotonic() + (request.timeout or _STREAM)
        while True:
            fresh, over = app.logs[seen:], app.over
            seen += len(fresh)
            chosen = [line for line in fresh if _matches(line, request, request.file_descriptor)]
            for batch in _batches(chosen, seen):
                yield batch
            if over:
                yield api_pb2.TaskLogsBatch(entry_id=f"{seen}-0", app_done=True)
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if len(app.logs) == seen and not app.over:
                await app.logged.wait(left)

    async def AppFetchLogs(self, request: api_pb2.AppFetchLogsRequest) -> api_pb2.AppFetchLogsResponse:
        if request.app_id in self.state.failed_builds:
            text = self.state.failed_builds[request.app_id].splitlines(keepends=True)
            lines = [LogLine(line, api_pb2.FILE_DESCRIPTOR_STDOUT, "", "") for line in text]
        else:
            lines = self._chosen(request)
        return api_pb2.AppFetchLogsResponse(batches=_batches(lines[-(request.limit or _FETCH) :], len(lines)))

    async def AppCountLogs(self, request: api_pb2.AppCountLogsRequest) -> api_pb2.AppCountLogsResponse:
        width = request.bucket_secs or 60
        counts: dict[int, Counter[int]] = {}
        for line in self._chosen(request):
            counts.setdefault(int(line.time // width) * width, Counter())[line.source] += 1
        return api_pb2.AppCountLogsResponse(
            app_id=request.app_id,
            buckets=[
                api_pb2.AppCountLogsResponse.LogBucket(
                    bucket_start_at=Timestamp(seconds=start),
                    stdout_logs=of[api_pb2.FILE_DESCRIPTOR_STDOUT],
                    stderr_logs=of[api_pb2.FILE_DESCRIPTOR_STDERR],
                    system_logs=of[api_pb2.FILE_DESCRIPTOR_INFO],
                )
                for start, of in sorted(counts.items())
            ],
        )

    def _chosen(self, request: api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest) -> list[LogLine]:
        app = look_up(self.state.apps, request.app_id, "App")
        since, until = _seconds(request.since), _seconds(request.until) or float("inf")
        return [line for line in app.logs if since <= line.time <= until and _matches(line, request, request.source)]


def say(app: App, line: LogLine) -> None:
    """Add a line to an app's logs, and tell whoever follows them."""
    app.logs.append(line)
    app.logged.send()


def _seconds(stamp: Timestamp) -> float:
    return float(stamp.seconds + stamp.nanos / 1e9)


def _matches(line: LogLine, wanted: _Filters, source: int) -> bool:
    return (
        source in (api_pb2.FILE_DESCRIPTOR_UNSPECIFIED, line.source)
        and wanted.task_id in ("", line.task_id)
        and wanted.function_id in ("", line.function_id)
        and wanted.function_call_id in ("", line.call_id)
        and wanted.search_text in line.text
    )


def _batches(lines: Iterable[LogLine], entry: int) -> list[api_pb2.TaskLogsBatch]:
    """Lines in their order, those of one container in a row together."""
    batches: list[api_pb2.TaskLogsBatch] = []
    for line in lines:
        if not batches or batches[-1].task_id != line.task_id:
            batches.append(
                api_pb2.TaskLogsBatch(task_id=line.task_id, function_id=line.function_id, entry_id=f"{entry}-0")
            )
        batches[-1].items.append(
            api_pb2.TaskLogs(
                data=line.text,
                file_descriptor=line.source,
                timestamp=line.time,
                timestamp_ns=int(line.time * 1e9),
                function_call_id=line.call_id,
                input_id=line.input_id,
                container_id=line.task_id,
            )
        )
    return batches
