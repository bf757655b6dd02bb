"""What spans there are of calls, and what stands in them; tests/service/host has a whole service's."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from google.rpc import code_pb2
from instantaudience_server.observation import tracing
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, StaticSampler

pytestmark = pytest.mark.process

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
PATH = "/audience.Segments/Apply"


def begin(sampler: Sampler) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.begin(provider.get_tracer("test"))
    return exporter


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where spans end: of all calls whose callers do not say."""
    yield begin(ParentBased(StaticSampler(Decision.RECORD_AND_SAMPLE)))
    tracing.begin(None)


def one(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return span


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def test_nothing_is_done_while_traces_are_off() -> None:
    assert tracing.start_call(PATH, "r-1", SAMPLED, 0.0) is None
    assert tracing.current() is None
    nothing: list[AbstractContextManager[None]] = [tracing.step("read"), tracing.together("apply", [None])]
    for each in nothing:
        with each:
            assert tracing.current() is None
    program = "import sys, instantaudience_server.running.worker; sys.exit('opentelemetry.exporter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_call_is_a_part_of_its_callers_trace(exporter: InMemorySpanExporter) -> None:
    span = tracing.start_call(PATH, "r-1", SAMPLED, 0.5)
    tracing.waited(span)
    tracing.end_call(span, code_pb2.OK)
    call, wait = one(exporter, "audience.Segments/Apply"), one(exporter, "wait")
    assert call.context is not None
    assert call.parent is not None
    assert f"{call.context.trace_id:032x}" == TRACE
    assert f"{call.parent.span_id:016x}" == PARENT
    assert dict(call.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "audience.Segments/Apply",
        "rpc.response.status_code": "OK",
        "instant_audience.request_id": "r-1",
    }
    assert call.status.is_unset
    assert wait.parent is not None
    assert wait.parent.span_id == id_of(call)
    assert wait.start_time == call.start_time
    assert (wait.end_time or 0) - (wait.start_time or 0) >= 500_000_000


@pytest.mark.parametrize("trace_parent", ["", "00-nonsense", SAMPLED.replace("4bf9", "")])
def test_without_a_readable_trace_a_new_one_begins(exporter: InMemorySpanExporter, trace_parent: str) -> None:
    tracing.end_call(tracing.start_call(PATH, "r-1", trace_parent, 0.0), code_pb2.UNAVAILABLE)
    call = one(exporter, "audience.Segments/Apply")
    assert call.parent is None
    assert not call.status.is_ok
    assert not call.status.is_unset


def test_a_call_that_its_caller_does_not_sample_has_no_span(exporter: InMemorySpanExporter) -> None:
    assert tracing.start_call(PATH, "r-1", NOT_SAMPLED, 0.0) is None


def test_lots_are_drawn_for_those_whose_callers_say_nothing(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    drawn = iter([False, True, False])
    tracing.begin(provider.get_tracer("test"), lambda: next(drawn))
    assert tracing.start_call(PATH, "r-1", "", 0.0) is None
    assert tracing.start_call(PATH, "r-2", SAMPLED, 0.0) is not None
    assert tracing.start_call(PATH, "r-3", "", 0.0) is not None
    assert tracing.start_call(PATH, "r-4", "nonsense", 0.0) is None


async def test_what_is_done_together_links_to_all_calls(exporter: InMemorySpanExporter) -> None:
    calls = [tracing.start_call(PATH, f"r-{number}", "", 0.0) for number in range(3)]
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with tracing.within(calls[0]), tracing.together("apply", [None, *calls]):
        with tracing.step("read"):
            await asyncio.sleep(0)
        tracing.watch("cluster write", done, lambda: {"db.operation.batch.size": 2}, lambda: False)
    done.set_result(None)
    await asyncio.sleep(0)
    for call in calls:
        tracing.end_call(call, code_pb2.OK)
    apply = one(exporter, "apply")
    assert [link.context for link in apply.links] == [call.get_span_context() for call in calls if call is not None]
    assert dict(apply.attributes or {}) == {"instant_audience.calls": 4}
    for name in ("read", "cluster write"):
        parent = one(exporter, name).parent
        assert parent is not None
        assert parent.span_id == id_of(apply)


async def test_what_fails_or_is_given_up_is_told(exporter: InMemorySpanExporter) -> None:
    call = tracing.start_call(PATH, "r-1", "", 0.0)
    loop = asyncio.get_running_loop()
    with tracing.within(call):
        for name, fails in (("good", False), ("bad", True), ("left", False)):
            done: asyncio.Future[None] = loop.create_future()
            tracing.watch(name, done, dict, lambda fails=fails: fails)  # type: ignore[misc]
            if name == "left":
                done.cancel()
            else:
                done.set_result(None)
        with pytest.raises(KeyError), tracing.step("read"):
            raise KeyError
    await asyncio.sleep(0)
    assert [one(exporter, name).status.is_unset for name in ("good", "bad", "left", "read")] == [True] + [False] * 3


async def test_what_outlives_its_call_is_none_of_its_trace(exporter: InMemorySpanExporter) -> None:
    call = tracing.start_call(PATH, "r-1", "", 0.0)
    with tracing.within(call):
        tracing.end_call(call, code_pb2.OK)
        assert tracing.current() is None
    with tracing.within(call), tracing.together("apply", [call, None]):
        assert tracing.current() is None
    assert [span.name for span in exporter.get_finished_spans()] == ["audience.Segments/Apply"]
