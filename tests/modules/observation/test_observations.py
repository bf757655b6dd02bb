"""What is kept in memory is written down as if it had been at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.observation import observations
from instantaudience_server.observation.observations import Added, Observed, keep_writing, write_down
from prometheus_client import CollectorRegistry, Counter, Histogram

BUCKETS = (0.1, 1.0, 10.0)


def histogram() -> tuple[CollectorRegistry, Histogram]:
    registry = CollectorRegistry()
    return registry, Histogram("durations_seconds", "…", buckets=BUCKETS, registry=registry)


def readings(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sample.labels)): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 100.0]))))
def test_a_histogram_holds_what_prometheus_would_have_counted(turns: list[list[float]]) -> None:
    (registry, theirs), (other_registry, ours) = histogram(), histogram()
    observed = Observed(ours)
    for turn in turns:
        for value in turn:
            theirs.observe(value)
        observed.observe_all(turn)
        observed.write()
    assert readings(other_registry) == pytest.approx(readings(registry))


def test_rows_are_added_each_number_to_its_counter() -> None:
    registry = CollectorRegistry()
    added = Added(*(Counter(name, "…", registry=registry) for name in ("users", "blocks")))
    for row in ((1, 10), (2, 20)):
        added.add(row)
    write_down()
    write_down()
    assert registry.get_sample_value("users_total") == 3
    assert registry.get_sample_value("blocks_total") == 30


async def test_what_is_left_is_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "WRITE_SECONDS", 3600.0)
    registry, kept = histogram()
    observed = Observed(kept)
    writing = asyncio.create_task(keep_writing())
    await asyncio.sleep(0)
    observed.observe(0.5)
    assert registry.get_sample_value("durations_seconds_count") == 0
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert registry.get_sample_value("durations_seconds_count") == 1
