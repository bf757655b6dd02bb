"""Declares every metric of the service, for Prometheus.

Labels have bounded values: never a user ID, member ID, token or text from a caller. Each worker writes its metrics into
files of its own, in a directory that the supervisor makes (prometheus_client's multiprocess mode); `MergedMetrics`
merges them. The files are named after the worker's number, so that its successor continues them: counters never
decrease, and restarts add no files. The supervisor's own defects have a file there, too. Without the directory, metrics
stay in memory.

Values that are observed many times in each turn of the event loop (durations, sizes) go through `observations`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from google.rpc import code_pb2
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from instantaudience_server.observation import exemplars
from instantaudience_server.observation.metric_files import OwnCounts, keep_in_files
from instantaudience_server.observation.observations import Added, Observed

SAMPLE_SECONDS = 1.0
"""The interval at which `sample` reads gauges."""
_QUICK_SECONDS = (0.0002, 0.0005, *exemplars.BOUNDS_SECONDS)
_CALLS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's
_WORKER_VARIABLE = "INSTANT_AUDIENCE_WORKER"

WORKER = os.environ.get(_WORKER_VARIABLE, "")
"""This worker's number; empty if the supervisor collects no metrics."""
if WORKER:
    # Before the first metric is made, because that opens its file.
    keep_in_files(WORKER)
    exemplars.EXEMPLARS.keep_in(os.environ[_DIRECTORY_VARIABLE], WORKER)


def _gauge(name: str, description: str, *labels: str) -> Gauge:
    """A gauge for each worker, which is removed when the worker ends ("live")."""
    return Gauge(name, description, ["worker", *labels], multiprocess_mode="livemax")


CALLS = Counter(
    "instant_audience_calls",
    "Answers to calls, by their gRPC code; a stream gets one for each request.",
    ["method", "code"],
)
CALL_SECONDS = Histogram(
    "instant_audience_call_seconds",
    "From when the gateway or, without it, a worker saw a call (or a request of a stream) until it was answered.",
    ["method", "outcome"],
    buckets=exemplars.BOUNDS_SECONDS,
)
FAILED_CALLS = Counter(
    "instant_audience_failed_calls",
    "Failed calls, whoever's they were, by why.",
    ["reason"],
)
WAITING_SECONDS = Histogram(
    "instant_audience_waiting_seconds",
    "From when the gateway or, without it, a worker saw a call until it was its turn.",
    buckets=_QUICK_SECONDS,
)
WAITING_CALLS = _gauge("instant_audience_waiting_calls", "Calls that wait for their turn.").labels(WORKER)
RUNNING_CALLS = _gauge("instant_audience_running_calls", "Calls whose turn has come.").labels(WORKER)
ACKNOWLEDGEMENT_SECONDS = Histogram(
    "instant_audience_acknowledgement_seconds",
    "From when calls that apply memberships were taken to be read until all of them had their results.",
    buckets=_QUICK_SECONDS,
)
GATHERED_CALLS = Histogram(
    "instant_audience_gathered_calls",
    "Calls that were carried out together, those of one caller in one turn.",
    buckets=_CALLS,
)
APPLIED_USERS = Counter("instant_audience_applied_users", "Valid users of calls whose writing began.")
APPLIED_BLOCKS = Counter(
    "instant_audience_applied_blocks",
    "Valid blocks of calls whose writing began, by their change: add, remove.",
    ["change"],
)
BUILD_INFO = _gauge("instant_audience_build_info", "1, of the version and the host that run.", "version", "host")
ADMISSION_REFUSALS = Counter(
    "instant_audience_admission_refusals",
    "Calls that were refused before they cost anything: they waited too long, queues were full, or they were late.",
    ["reason"],
)
NATIVE_REFUSALS = Counter(
    "instant_audience_native_refusals",
    "Connections that the port of a native host refused: too many of them, callers' certificates.",
    ["reason"],
)
QUOTA_REFUSALS = Counter(
    "instant_audience_quota_refusals",
    "Calls that a member's quota refused, by what there was too much of (contract, Limits).",
    ["quota"],
)
MEMBER_CALL_FAILURES = Counter(
    "instant_audience_member_call_failures",
    "Failed calls of known members, by the reason that their reports tell too.",
    ["reason"],
)
SKIPPED_PARTS = Counter(
    "instant_audience_skipped_parts",
    "Users and blocks of applied calls that were skipped before the catalog was asked, by the warning's code.",
    ["code"],
)
SEGMENT_SIZE_USERS_LEFT_OUT = Counter(
    "instant_audience_segment_size_users_left_out",
    "Users that were applied and are missing in the sizes of segments, because the worker could not keep up.",
)
SIGN_IN_RESULTS = Counter(
    "instant_audience_sign_ins",
    "Attempts to sign in, by their result: OK or why they failed.",
    ["result"],
)
BACKGROUND_DEFECTS = Counter(
    "instant_audience_background_defects",
    "Times that what goes on beside calls has met a defect and began anew, by what it is.",
    ["work"],
)
WORKER_STARTS = Counter(
    "instant_audience_worker_starts",
    "Times that a worker connected to the cluster and read the catalog.",
    ["worker"],
)
BATCH_UPLOADS = Counter(
    "instant_audience_batch_uploads",
    "Files that came over HTTP, by what became of them: ok, refused, unknown, incomplete, failed.",
    ["result"],
)
BATCH_UPLOADED_BYTES = Counter("instant_audience_batch_uploaded_bytes", "Bytes of files that came.")
BATCH_JOBS = Counter(
    "instant_audience_batch_jobs",
    "Jobs that ended, by their result: completed, or the job's error code.",
    ["result"],
)
BATCH_RUNNING_JOBS = _gauge("instant_audience_batch_running_jobs", "Jobs that the process is applying.").labels(WORKER)
BATCH_LINES = Counter("instant_audience_batch_lines", "Lines and records of files that were applied.")
BATCH_MEMBERSHIPS = Counter("instant_audience_batch_memberships", "Memberships of files that were taken.")
CATALOG_CURRENT_TIMESTAMP = _gauge(
    "instant_audience_catalog_current_timestamp_seconds",
    "When the cluster last said that the worker knows every change of the catalog, in seconds since 1970.",
).labels(WORKER)
CATALOG_STALE = _gauge(
    "instant_audience_catalog_stale",
    "1 while the cluster does not tell the worker of changes, so that it serves what it last knew; else 0.",
).labels(WORKER)
SUPPRESSIONS_STALE = _gauge(
    "instant_audience_suppressions_stale",
    "1 while the cluster does not tell the worker who has suppressed users, so that it looks for everyone; else 0.",
).labels(WORKER)
CATALOG_OBJECTS = _gauge("instant_audience_catalog_objects", "Objects that the worker's catalog holds.", "kind")
CATALOG_RELOADS = Counter(
    "instant_audience_catalog_reloads",
    "Times that a worker read the whole catalog again, because it was too far behind to follow the changes.",
)
CLUSTER_REACHABLE = _gauge(
    "instant_audience_cluster_reachable",
    "1 while every primary of the cluster answers the worker, else 0; missing until it has looked.",
)
CLUSTER_NODES = _gauge(
    "instant_audience_cluster_nodes",
    "Primaries of the cluster that take writes (problem: none), and those that do not, by why.",
    "problem",
)
STORE_REFUSALS = Counter(
    "instant_audience_store_refusals",
    "Commands that nodes of the cluster answered with an error, by its first word; most are sent again.",
    ["node", "problem"],
)
STORE_REPLY_SECONDS = Histogram(
    "instant_audience_store_reply_seconds",
    "From when commands were written to a node until the first call's among them were answered; one write at a time.",
    ["node"],
    buckets=_QUICK_SECONDS,
)
STORE_CONNECTIONS = Counter(
    "instant_audience_store_connections",
    "Connections to nodes of the cluster that were made.",
    ["node"],
)
STORE_PRIMARY_CHANGES = Counter(
    "instant_audience_store_primary_changes",
    "Times that a worker saw another primary serve slots: a failover, or they were moved.",
    ["kind"],
)
STORE_PENDING_BYTES = _gauge(
    "instant_audience_store_pending_bytes",
    "Commands of the worker that wait for the cluster's answers.",
).labels(WORKER)
CERTIFICATE_END_TIMESTAMP = _gauge(
    "instant_audience_certificate_end_timestamp_seconds",
    "When the first certificate (or list of revoked ones) in a file for TLS ends, in seconds since 1970.",
    "file",
)
STORE_CONNECTION_FAILURES = Counter(
    "instant_audience_store_connection_failures",
    "Connections to nodes of the cluster that were lost or could not be made.",
    ["node"],
)
GATEWAY_CONNECTIONS = ("instant_audience_gateway_connections", "Callers' connections to an Envoy.")
GATEWAY_MEMORY = ("instant_audience_gateway_memory_bytes", "Memory in use in an Envoy.")
GATEWAY_ANSWERS = ("instant_audience_gateway_answers_total", "Answers of an Envoy, its own too, by their HTTP status.")
GATEWAY_REFUSALS = (
    "instant_audience_gateway_refusals_total",
    "What an Envoy refused: too many connections and calls under way, too much memory in use, callers' certificates.",
)
GATEWAY_CONNECTION_FAILURES = (
    "instant_audience_gateway_connection_failures_total",
    "Connections of an Envoy to workers that could not be made.",
)
GATEWAY_UNANSWERED_CALLS = (
    "instant_audience_gateway_unanswered_calls_total",
    "Calls to an Envoy that no worker has answered, so that it did: with 503 mostly.",
)
"""Names and descriptions; `running/gateway_metrics.py` gets the values from Envoy when metrics are read."""
CATALOG_AGE = (
    "instant_audience_catalog_age_seconds",
    "How long ago the cluster last said that the worker knows every change of the catalog.",
)
"""Name and description; calculated from `CATALOG_CURRENT_TIMESTAMP` when metrics are read, so that it also grows for a
worker that hangs."""
WHEN_ASKED = (
    CATALOG_AGE,
    GATEWAY_CONNECTIONS,
    GATEWAY_MEMORY,
    GATEWAY_ANSWERS,
    GATEWAY_REFUSALS,
    GATEWAY_CONNECTION_FAILURES,
    GATEWAY_UNANSWERED_CALLS,
)
"""The metrics that are not stored but determined when metrics are read."""


# Alerts watch these series for increases, and Prometheus sees none in a series that appears with its first count: so
# they start at 0.
for _reason in ("INVALID_LOGIN", "OK"):
    SIGN_IN_RESULTS.labels(_reason)
for _reason in ("connections", "certificates"):
    NATIVE_REFUSALS.labels(_reason)
for _kind in ("failover", "move"):
    STORE_PRIMARY_CHANGES.labels(_kind)
for _reason in ("unavailable", "internal"):
    FAILED_CALLS.labels(_reason)
for _outcome in ("completed", "INTERNAL", "PROCESS_ENDED", "FILE_LOST"):
    BATCH_JOBS.labels(_outcome)

_call_meters: dict[tuple[str, int], tuple[Callable[[float], None], Observed]] = {}
_call_durations: dict[tuple[str, str], Observed] = {}
waited = Observed(WAITING_SECONDS)
acknowledged = Observed(ACKNOWLEDGEMENT_SECONDS)
gathered = Observed(GATHERED_CALLS)
applied_parts = Added(APPLIED_USERS, APPLIED_BLOCKS.labels("add"), APPLIED_BLOCKS.labels("remove"))
"""The valid users, and the blocks that add and remove, of calls whose writing begins."""


@cache
def store_replies(node: str) -> Observed:
    """The buffer for a node's reply times."""
    return Observed(STORE_REPLY_SECONDS.labels(node))


def count_call(path: str, code: int, seconds: float | None = None, calls: int = 1) -> None:
    """Count `calls` answers by the method's path and their gRPC code; observe a call's duration unless it is None."""
    try:
        count, durations = _call_meters[path, code]
    except KeyError:
        count, durations = _meter(path, code)
    count(calls)
    if seconds is not None:
        durations.observe(seconds)


def count_answers(path: str, seconds: Sequence[float]) -> None:
    """Count OK answers by the method's path, and observe the duration of each call."""
    count_call(path, code_pb2.OK, calls=len(seconds))
    _, durations = _call_meters[path, code_pb2.OK]
    durations.observe_all(seconds)


def _meter(path: str, code: int) -> tuple[Callable[[float], None], Observed]:
    method, name = path.removeprefix("/"), code_pb2.Code.Name(code)
    outcome = exemplars.outcome_of(code)
    durations = _call_durations.get((method, outcome))
    if durations is None:
        durations = _call_durations[method, outcome] = Observed(CALL_SECONDS.labels(method, outcome))
    for failure in (code_pb2.UNAVAILABLE, code_pb2.INTERNAL):
        CALLS.labels(method, code_pb2.Code.Name(failure))  # what alerts look at begins at 0
    meter = _call_meters[path, code] = CALLS.labels(method, name).inc, durations
    return meter


def count_defects(work: str) -> Callable[[], None]:
    """Begin to count the defects of background work, at 0; returns what counts one more."""
    return BACKGROUND_DEFECTS.labels(work).inc


async def sample(readings: Mapping[Gauge, Callable[[], float]]) -> None:
    """Set gauges from readings regularly, forever: for values that change too often to be set each time."""
    while True:
        for gauge, read in readings.items():
            gauge.set(read())
        await asyncio.sleep(SAMPLE_SECONDS)


class WorkerMetrics:
    """The directory into which workers write their metrics, which is created here; None: they write none."""

    def __init__(self, directory: Path | None) -> None:
        if directory is not None:
            directory.mkdir()
        self._directory = directory
        self._own: OwnCounts | None = None

    def environment(self, number: int) -> dict[str, str]:
        """The environment variables for the worker with this number."""
        if self._directory is None:
            return {}
        return {_DIRECTORY_VARIABLE: str(self._directory), _WORKER_VARIABLE: str(number)}

    def forget_gauges(self, number: int) -> None:
        """Remove the gauges of a worker that has ended; its counters remain."""
        if self._directory is not None:
            mark_process_dead(number, str(self._directory))  # type: ignore[no-untyped-call]

    def count_own_defects(self, work: str) -> Callable[[], None]:
        """See `count_defects`: in a file beside those of workers, as this process is none. Without room for it, or
        where workers write no metrics, nobody is told."""
        try:
            if self._directory is not None:
                self._own = self._own or OwnCounts(self._directory, "supervisor")
                return self._own.begin(BACKGROUND_DEFECTS, work)
        except OSError:
            pass
        return count_defects(work)

    def close(self) -> None:
        """After the last count of this process."""
        if self._own is not None:
            self._own.close()


class MergedMetrics(Collector):
    """The metrics of all workers that write into `directory`, and what the supervisor counts there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._workers = MultiProcessCollector(None, str(directory))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """The sums of counters, the gauges of each worker, exemplars, and the age of each worker's catalog."""
        for metric in self._workers.collect():  # type: ignore[no-untyped-call]
            if metric.name == "instant_audience_call_seconds" and (newest := exemplars.of_all(self._directory)):
                _add_exemplars(metric, newest)
            yield metric
            if metric.name == "instant_audience_catalog_current_timestamp_seconds":
                yield _catalog_age(metric)


def _add_exemplars(durations: Metric, newest: Mapping[exemplars.Range, exemplars.Exemplar]) -> None:
    for index, sample in enumerate(durations.samples):
        if sample.name.endswith("_bucket"):
            which = exemplars.range_of(sample.labels["method"], sample.labels["outcome"], float(sample.labels["le"]))
            if found := newest.get(which):
                exemplar = Exemplar({"trace_id": found.trace_id}, found.seconds, found.ended)
                durations.samples[index] = sample._replace(exemplar=exemplar)


def _catalog_age(current: Metric) -> Metric:
    age = GaugeMetricFamily(*CATALOG_AGE, labels=["worker"])
    for reading in current.samples:
        if reading.value:  # else it has not read the catalog yet
            age.add_metric([reading.labels["worker"]], max(0.0, time.time() - reading.value))
    return age
