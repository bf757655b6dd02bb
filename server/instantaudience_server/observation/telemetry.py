"""Every log event of the service, declared once.

Logs are structured, one line an event. They hold no token, no password and no user ID.
"""

import contextlib
import errno
import json
import logging
import os
import select
import sys
import traceback
from enum import StrEnum
from functools import partial
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, ExcInfo

READER_SECONDS = 1.0
"""How long is waited for the log's reader to go on, until lines are lost: a busy machine's may be late."""


class Event(StrEnum):
    """The events; the comment names an event's fields."""

    STORE_COMMAND_REFUSED = "store_command_refused"  # node, error: its first word, slot; when it begins
    STORE_COMMANDS_REFUSED = "store_commands_refused"  # node, error, slot, commands: as many others, in a minute
    STORE_REFUSALS_OVER = "store_refusals_over"  # node, error: none for a minute
    STORE_TOPOLOGY_UNKNOWN = "store_topology_unknown"  # when it begins to be
    STORE_TOPOLOGY_KNOWN = "store_topology_known"  # again
    STORE_FAILOVER = "store_failover"  # former, node: which serves the slots of the former primary now
    USAGE_LOST = "usage_lost"  # the cluster did not take what was counted
    CALL_ANSWERED = "call_answered"  # method, request_id, code, seconds, member_id; only with an access log
    CALL_FAILED = "call_failed"  # method, request_id, reason, cause, error, nodes, member_id
    CALLS_FAILED = "calls_failed"  # calls: as many others failed, in a second, and have no lines
    CALLS_OVERLOADED = "calls_overloaded"  # method, calls, member_id: the host had no time for them
    CALL_REFUSED = "call_refused"  # method, request_id, reason, member_id: the first such call in a second
    CALLS_REFUSED = "calls_refused"  # method, reason, calls: as many others like it
    CALL_DEFECT = "call_defect"  # request_id, method, exception; nodes, where they refused a command
    OUTCOME_NOT_NOTED = "outcome_not_noted"  # request_id, method, exception: metric or usage lack a call's outcome
    CATALOG_SEEDED = "catalog_seeded"  # added: how many objects of the file; left_out: the first whose name is taken
    CATALOG_STALE = "catalog_stale"  # error, or exception: why it learns of no changes; it goes on with what it knows
    CATALOG_CURRENT = "catalog_current"
    BATCH_JOB_ENDED = "batch_job_ended"  # job_id, member_id, outcome
    BATCH_JOB_INTERRUPTED = "batch_job_interrupted"  # job_id, member_id: it goes on here or elsewhere
    BATCH_JOB_DEFECT = "batch_job_defect"  # job_id, member_id, exception
    BATCH_STORE_UNUSABLE = "batch_store_unusable"  # store, error, advice: at the start, no file can be kept there
    BATCH_STORE_FAILED = "batch_store_failed"  # error: what the store of files says
    SUPPRESSIONS_STALE = "suppressions_stale"  # likewise who has suppressed users; the worker looks for everyone
    SUPPRESSIONS_CURRENT = "suppressions_current"
    SERVICE_STEP = "service_step"  # step: what is done at the start or the end, for people
    WORKER_READY = "worker_ready"  # worker
    WORKER_DRAINING = "worker_draining"  # worker
    HOST_CHOSEN = "host_chosen"  # host: native, envoy or grpcio; reason
    METRICS_NOT_SERVED = "metrics_not_served"  # exception: who asked for them has left, or a file could not be read
    HEALTH_CHANGED = "health_changed"  # serving
    NODE_TAKES_NO_WRITES = "node_takes_no_writes"  # node, problem
    NODE_TAKES_WRITES = "node_takes_writes"  # node
    BACKGROUND_DEFECT = "background_defect"  # work, times, exception: of what goes on beside calls; it begins anew
    FEW_OPEN_FILES = "few_open_files"  # limit, needed, max_connections: as many connections as there are files for
    PROCESS_EXITED = "process_exited"  # process, pid, returncode, restart_in_seconds
    PROCESS_RESTARTED = "process_restarted"  # process, pid
    PROCESS_START_FAILED = "process_start_failed"  # process, error
    PROCESS_STANDS_STILL = "process_stands_still"  # process, pid: somebody has stopped it; it is killed, a node goes on
    PROCESS_KILLED = "process_killed"  # process, pid, grace_seconds: it did not end by itself
    LOG_LINES_LOST = "log_lines_lost"  # lines: whoever reads the log has not taken them in time
    TRACES_NOT_SENT = "traces_not_sent"  # logger: who of the library noticed; the collector does not take spans
    CERTIFICATES_READ = "certificates_read"  # ends: by file, when the first of its certificates ends
    CERTIFICATES_UNUSABLE = "certificates_unusable"  # error: what is wrong; the former ones stay
    EMBEDDED_CLUSTER_STARTED = "embedded_cluster_started"  # data_dir, ports
    EMBEDDED_CLUSTER_PORTS_TAKEN = "embedded_cluster_ports_taken"  # data_dir, ports: another's now


def configure_logging(level: str, form: str = "json") -> None:
    """Write events to standard error, a line each: as JSON or as text for people; `auto` has text on a terminal.

    `level` is a name of the logging module, in any case.
    """
    is_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    log = _Log(sys.stderr)

    def tell_of_lost_lines(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if lines := log.forget_lost():
            structlog.get_logger().warning(Event.LOG_LINES_LOST, lines=lines)
        return event

    structlog.configure(
        processors=[
            tell_of_lost_lines,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.ExceptionRenderer(_trace),
            _as_text if is_text else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, log)),
    )


class _Log:
    """A stream whose reader may leave or stand still (a terminal after Ctrl-S, `less`), and whose disk may be full:
    what is logged is lost then. Whoever logs does not notice, but for one wait of `READER_SECONDS`."""

    def __init__(self, stream: TextIO) -> None:
        # Past the stream, which keeps what it could not write, and fails with that when the process ends (status 120).
        self._descriptor = stream.fileno()
        self._bytes_of = partial(str.encode, encoding=stream.encoding, errors=stream.errors or "strict")
        self._is_read = True
        """Whether the reader went on when it was last looked at."""
        self._is_cut = False
        """Whether the last line was written in part."""
        self._lost = 0

    def write(self, text: str) -> None:
        """Write whole lines."""
        if not self._has_room():
            self._lost += 1
            return
        left, self._is_cut = self._bytes_of("\n" * self._is_cut + text), False
        with contextlib.suppress(OSError):
            while left := left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]:
                if not self._has_room():
                    self._is_cut, self._lost = True, self._lost + 1
                    return

    def flush(self) -> None:
        """Does nothing: `write` has."""

    def forget_lost(self) -> int:
        """How many lines a reader that stood still has not got, once it goes on."""
        if not self._lost or not self._has_room():
            return 0
        lost, self._lost = self._lost, 0
        return lost

    def _has_room(self) -> bool:
        """Whether `select.PIPE_BUF` bytes can be written at once. That is waited for where there was room before."""
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        self._is_read = bool(room.poll(1000 * READER_SECONDS if self._is_read else 0))
        return self._is_read


def _as_text(_logger: Any, _name: str, event: EventDict) -> str:
    """The time of day (UTC), what has happened, and its fields; below, what was raised."""
    raised = event.pop("exception", [])
    level, time = event.pop("level"), event.pop("time")[11:19]
    name = event.pop("event")
    fields = " ".join(f"{field}={_field_text(value)}" for field, value in event.items())
    lines = [f"{time} {level:<7} {name} {fields}".rstrip()]
    for each in raised:
        lines += [f"    {each['type']}", *(f"        {frame}" for frame in each["frames"])]
    return "\n".join(lines)


def _field_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and not text.isprintable() else text


def _type(error: BaseException) -> str:
    name = type(error).__name__
    code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{name} ({code})" if code else name


def _trace(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """What was raised where, the latest first; no texts and no variables, which may hold a user ID or a token."""
    error: BaseException | None = exc_info[1]
    raised = []
    while error is not None:
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        raised.append({"type": _type(error), "frames": frames})
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return raised
