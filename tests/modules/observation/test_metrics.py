"""What is counted, and how the counts of several workers come together; tests/service/host has whole services."""

import asyncio
import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.rpc import code_pb2
from instantaudience_server.observation import metrics
from instantaudience_server.observation.metric_files import FIRST_BYTES, ReservedDict
from instantaudience_server.observation.metrics import MergedMetrics, WorkerMetrics, count_call
from instantaudience_server.observation.observations import write_down
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.service.metrics import Scrape

pytestmark = pytest.mark.process

OBSERVABILITY = Path(__file__).parents[3] / "docs/observability.md"
DECLARED = [metric for metric in REGISTRY._collector_to_names if isinstance(metric, MetricWrapperBase)]
MANY = 2000
"""Series that need more than a file has at first."""
BLOCK_BYTES = 512
"""As stat(2) counts them."""
BOUNDED_LABELS = {
    *("reason", "problem", "worker", "kind", "method", "code", "quota", "result", "file"),
    *("outcome", "node", "version", "host", "change", "work"),
}


def names_of(metric: MetricWrapperBase) -> str:
    return metric._name + ("_total" if isinstance(metric, Counter) else "")


@pytest.mark.parametrize("metric", DECLARED, ids=names_of)
class TestEveryMetric:
    def test_is_named_after_a_noun_and_its_unit(self, metric: MetricWrapperBase) -> None:
        name = names_of(metric)
        assert re.fullmatch(r"instant_audience(_[a-z]+)+", name)
        assert name.endswith(
            ("_total", "_seconds", "_bytes", "_objects", "_stale", "_reachable", "_nodes", "_jobs", "_calls", "_info")
        )

    def test_has_bounded_labels_alone(self, metric: MetricWrapperBase) -> None:
        assert set(metric._labelnames) <= BOUNDED_LABELS

    def test_vanishes_with_its_worker_if_it_is_a_gauge(self, metric: MetricWrapperBase) -> None:
        if isinstance(metric, Gauge):
            assert metric._multiprocess_mode.startswith("live")
            assert metric._labelnames[0] == "worker"

    def test_is_in_the_operators_table(self, metric: MetricWrapperBase) -> None:
        assert f"\n| `{names_of(metric)}` |" in OBSERVABILITY.read_text()


def test_the_operators_table_has_no_others() -> None:
    documented = set(re.findall(r"^\| `(instant_audience_\w+)` \|", OBSERVABILITY.read_text(), re.MULTILINE))
    assert documented == {*map(names_of, DECLARED), *(name for name, _ in metrics.WHEN_ASKED)}


def counted(method: str, code: str) -> float:
    return REGISTRY.get_sample_value("instant_audience_calls_total", {"method": method, "code": code}) or 0.0


def test_calls_are_counted_by_method_and_code() -> None:
    for path, code in (("/a.B/C", code_pb2.OK), ("/a.B/C", code_pb2.OK), ("/a.B/C", code_pb2.ABORTED), ("/a.B/D", 0)):
        count_call(path, code)
    assert [counted(*row) for row in (("a.B/C", "OK"), ("a.B/C", "ABORTED"), ("a.B/D", "OK"))] == [2, 1, 1]


def test_the_first_failure_of_a_method_counts_for_an_alert() -> None:
    """What begins with its first count has not grown in its eyes, and what it is a share of has to grow along."""
    count_call("/a.B/F", code_pb2.OK)
    for code in ("UNAVAILABLE", "INTERNAL"):
        assert REGISTRY.get_sample_value("instant_audience_calls_total", {"method": "a.B/F", "code": code}) == 0


def test_durations_are_told_by_method_and_outcome(subtests: pytest.Subtests) -> None:
    for code, outcome in [
        (code_pb2.OK, "ok"),
        (code_pb2.INVALID_ARGUMENT, "refused"),
        (code_pb2.RESOURCE_EXHAUSTED, "refused"),
        (code_pb2.UNAVAILABLE, "failed"),
        (code_pb2.INTERNAL, "failed"),
    ]:
        with subtests.test(code=code, outcome=outcome):
            name, labels = "instant_audience_call_seconds", {"method": f"a.B/Took{code}", "outcome": outcome}
            for seconds in (0.3, 0.4, None):
                count_call(f"/a.B/Took{code}", code, seconds)
            write_down()
            assert REGISTRY.get_sample_value(f"{name}_count", labels) == 2
            assert REGISTRY.get_sample_value(f"{name}_sum", labels) == pytest.approx(0.7)
            assert REGISTRY.get_sample_value(f"{name}_bucket", labels | {"le": "0.25"}) == 0
            assert REGISTRY.get_sample_value(f"{name}_bucket", labels | {"le": "0.5"}) == 2


async def test_samples_are_taken_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SAMPLE_SECONDS", 0.0)
    readings = iter(range(1, 6))
    sampling = asyncio.create_task(metrics.sample({metrics.STORE_PENDING_BYTES: lambda: next(readings)}))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(sampling, 5)
    assert REGISTRY.get_sample_value("instant_audience_store_pending_bytes", {"worker": ""}) == 5


def run_worker(workers: WorkerMetrics, number: int, program: str) -> None:
    """Run a program as a worker; it is killed at its end, as nothing may depend on how a worker ends."""
    program = (
        f"import os, signal\nfrom instantaudience_server.observation import metrics\n{program}\nos.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=os.environ | workers.environment(number), check=False)
    assert ended.returncode == -9


def test_counts_of_workers_add_up_and_outlive_them(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    workers = WorkerMetrics(directory)
    merged = MergedMetrics(directory)
    for number, calls, total in ((0, 3, 3), (1, 4, 7), (0, 2, 9), (1, 1, 10)):
        run_worker(workers, number, f"for _ in range({calls}): metrics.count_call('/a.B/C', 0)")
        workers.forget_gauges(number)
        assert Scrape.of(merged.collect()).total("calls_total", method="a.B/C", code="OK") == total
    assert sorted(path.name for path in directory.iterdir()) == [
        *(f"{kind}_{number}.db" for kind in ("counter", "histogram") for number in (0, 1)),
    ]


def test_files_have_room_before_it_is_needed(tmp_path: Path) -> None:
    """Where the disk is full, the kernel would end a worker that writes to a part of a file that has none."""
    directory = tmp_path / "metrics"
    run_worker(WorkerMetrics(directory), 0, f"for number in range({MANY}): metrics.count_call(f'/a.B/{{number}}', 0)")
    sizes = [file.stat() for file in directory.iterdir()]
    assert max(size.st_size for size in sizes) > FIRST_BYTES
    assert all(size.st_blocks * BLOCK_BYTES >= size.st_size for size in sizes)
    assert Scrape.of(MergedMetrics(directory).collect()).total("calls_total") == MANY


def test_where_the_disk_is_full_what_is_counted_already_is_counted_on(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    program = f"""
metrics.count_call('/a.B/C', 0)
def full(*_):
    raise OSError(28, 'No space left on device')
os.posix_fallocate = full
for number in range({MANY}): metrics.count_call(f'/a.B/{{number}}', 0)
metrics.count_call('/a.B/C', 0)
"""
    run_worker(WorkerMetrics(directory), 0, program)
    told = Scrape.of(MergedMetrics(directory).collect())
    assert told.total("calls_total", method="a.B/C") == 2
    assert 2 < told.total("calls_total") < MANY


def test_a_file_without_room_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads them all would stumble over it."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        ReservedDict(str(tmp_path / "counter_0.db"))
    assert list(tmp_path.iterdir()) == []


def test_gauges_are_told_by_worker_and_forgotten_with_it(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    workers = WorkerMetrics(directory)
    merged = MergedMetrics(directory)
    for number, pending in ((1, 10), (11, 20)):
        run_worker(workers, number, f"metrics.STORE_PENDING_BYTES.set({pending})")
    assert Scrape.of(merged.collect()).by_worker("store_pending_bytes") == {"1": 10, "11": 20}
    workers.forget_gauges(1)
    assert Scrape.of(merged.collect()).by_worker("store_pending_bytes") == {"11": 20}
    run_worker(workers, 1, "")
    assert Scrape.of(merged.collect()).by_worker("store_pending_bytes") == {"1": 0, "11": 20}


def test_the_age_is_counted_from_the_last_good_word_and_only_after_the_first(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    workers = WorkerMetrics(directory)
    now = time.time()
    for number, current in ((0, now - 100), (1, now + 3600), (2, 0)):  # a clock that was set back; not loaded yet
        run_worker(workers, number, f"metrics.CATALOG_CURRENT_TIMESTAMP.set({current!r})")
    ages = Scrape.of(MergedMetrics(directory).collect()).by_worker("catalog_age_seconds")
    assert ages.keys() == {"0", "1"}
    assert 100 <= ages["0"] < 160
    assert ages["1"] == 0


def test_traces_stand_for_durations(tmp_path: Path) -> None:
    """The newest of each range, whichever worker had it."""
    directory = tmp_path / "metrics"
    workers = WorkerMetrics(directory)
    for number, traces in ((0, {"a": 0.0003, "b": 0.3, "c": 0.01}), (1, {"d": 0.4, "e": 60.0})):
        calls = "".join(
            f"metrics.count_call('/a.B/C', 0, {seconds})\nEXEMPLARS.note('a.B/C', 0, {seconds}, '{trace}')\n"
            for trace, seconds in traces.items()
        )
        program = f"""
from instantaudience_server.observation.exemplars import EXEMPLARS
{calls}
from instantaudience_server.observation.observations import write_down
write_down()"""
        run_worker(workers, number, program)
    (directory / "exemplars_2.json").write_text("[")  # a worker that ended while it wrote
    registry = CollectorRegistry()
    registry.register(MergedMetrics(directory))
    (durations,) = [
        each
        for each in text_string_to_metric_families(generate_latest(registry).decode())
        if each.name == "instant_audience_call_seconds"
    ]
    found = {
        float(sample.labels["le"]): (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for sample in durations.samples
        if sample.exemplar
    }
    assert found == {0.001: ("a", 0.0003), 0.01: ("c", 0.01), 0.5: ("d", 0.4), float("inf"): ("e", 60.0)}


def test_a_worker_without_a_directory_keeps_its_counts_to_itself(tmp_path: Path) -> None:
    workers = WorkerMetrics(None)
    assert workers.environment(0) == {}
    workers.forget_gauges(0)
    run_worker(workers, 0, f"os.chdir({str(tmp_path)!r}); metrics.count_call('/a.B/C', 0)")
    assert list(tmp_path.iterdir()) == []
