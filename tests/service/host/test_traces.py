"""A trace of one call, as a real collector gets it from a running service."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import audience_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.contract.messages import one_user
from support.outside.collectors import Collector, running_collector
from support.service.running import Service, running_service
from support.waiting import eventually

APPLY = "instantaudience.v1.AudienceService/ApplySegments"
STREAM = "instantaudience.v1.AudienceService/StreamSegments"
READ = "instantaudience.v1.AudienceService/GetMemberships"
USER = "12345678900987654321"
PARENT = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector(host_mode: str) -> Iterator[Collector]:
    """One for each host's service."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
async def traced(host_mode: str, collector: Collector) -> AsyncIterator[Service]:
    """A service that traces no call whose caller does not say so, and sends what it has at once."""
    words = ("--traces-endpoint", collector.url, "--traces-ratio", "0", "--workers", "1", "--metrics-port", "0")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with running_service(*words, host_mode=host_mode) as running:
            yield running
            assert "traces_not_sent" not in running.log


def parent_of(trace_id: str) -> str:
    return f"00-{trace_id}-{PARENT}-01"


async def spans_of(collector: Collector, trace_id: str, *names: str) -> dict[str, Span]:
    """The spans of a trace by their names, when these are there."""

    async def found() -> dict[str, Span]:
        spans = {span.name: span for span in collector.spans(trace_id)}
        assert spans.keys() >= set(names)
        return spans

    return await eventually(found)


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


async def test_a_rest_call_is_seen_from_the_gateway_to_the_cluster(traced: Service, collector: Collector) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"authorization": await traced.token(), "traceparent": parent_of(trace_id), "x-request-id": "r-traced"}
    async with traced.http() as http:
        assert (await http.post("/rt-segment", json=one_user(USER), headers=headers)).status_code == 200
    spans = await spans_of(collector, trace_id, APPLY, "wait", "apply", "read", "cluster write")
    call, apply, write = spans[APPLY], spans["apply"], spans["cluster write"]
    assert call.parent_span_id.hex() == PARENT
    assert spans["wait"].parent_span_id == apply.parent_span_id == call.span_id
    assert spans["read"].parent_span_id == write.parent_span_id == apply.span_id
    assert [link.span_id for link in apply.links] == [call.span_id]
    assert attributes(call)["instant_audience.request_id"] == "r-traced"
    assert attributes(call)["rpc.response.status_code"] == "OK"
    assert attributes(write)["db.operation.batch.size"] == 1
    (node,) = attributes(write)["instant_audience.nodes"].values
    assert int(node.string_value.rpartition(":")[2]) in traced.node_ports
    ordered = [call.start_time_unix_nano, spans["read"].start_time_unix_nano, write.start_time_unix_nano]
    assert ordered == sorted(ordered)
    assert write.end_time_unix_nano <= call.end_time_unix_nano


@pytest.mark.parametrize("port", ["gateway", "direct"])
async def test_grpc_calls_and_streams_are_too(traced: Service, collector: Collector, port: str) -> None:
    number = {"gateway": 1, "direct": 2}[port]
    trace_id, stream_id = (f"{each}af7651916cd43dd8448eb211c80319{number}" for each in "12")
    metadata = (("authorization", await traced.token()),)
    async with traced.channel(port) as channel:
        stub = audience_pb2_grpc.AudienceServiceStub(channel)
        question = pb.GetMembershipsRequest(user_id=USER)
        await stub.GetMemberships(question, metadata=(*metadata, ("traceparent", parent_of(trace_id))))
        stream = stub.StreamSegments(metadata=(*metadata, ("traceparent", parent_of(stream_id))))
        request = pb.StreamSegmentsRequest()
        request.rt_segment.add(user_id=USER).seg_block.add(seg_id=10001)
        await stream.write(request)
        await stream.done_writing()
        await stream.read()
    read = await spans_of(collector, trace_id, READ, "wait", "cluster")
    assert read[READ].parent_span_id.hex() == PARENT
    assert read["cluster"].parent_span_id == read[READ].span_id
    streamed = await spans_of(collector, stream_id, STREAM, "apply", "cluster write")
    assert streamed["apply"].parent_span_id == streamed[STREAM].span_id


async def test_a_call_whose_caller_does_not_ask_is_left_to_the_ratio(traced: Service, collector: Collector) -> None:
    """Which is 0 here; what comes next is there, so this would have been."""
    trace_id = "3af7651916cd43dd8448eb211c80319c"
    token = await traced.token()
    async with traced.http() as http:
        for traceparent in ({}, {"traceparent": parent_of(trace_id)}):
            headers = {"authorization": token, "x-request-id": f"r-{len(traceparent)}", **traceparent}
            assert (await http.post("/rt-segment", json=one_user(USER), headers=headers)).status_code == 200
    await spans_of(collector, trace_id, APPLY)
    sent = str(collector.requests)
    assert "r-1" in sent
    assert "r-0" not in sent


async def test_it_stands_for_how_long_the_call_took(traced: Service) -> None:
    """For a Prometheus that asks for OpenMetrics, as it does."""
    trace_id = "4af7651916cd43dd8448eb211c80319c"
    headers = {"authorization": await traced.token(), "traceparent": parent_of(trace_id)}
    async with traced.http() as http:
        assert (await http.get("/rt-segment", params={"user_id": USER}, headers=headers)).status_code == 200

    async def told() -> Sample:
        async with httpx.AsyncClient() as client:
            answer = await client.get(traced.metrics_url, headers={"accept": "application/openmetrics-text"})
        samples = [each for metric in text_string_to_metric_families(answer.text) for each in metric.samples]
        found = [each for each in samples if each.exemplar and each.exemplar.labels == {"trace_id": trace_id}]
        assert len(found) == 1
        return found[0]

    sample = await eventually(told)
    assert sample.name == "instant_audience_call_seconds_bucket"
    assert (sample.labels["method"], sample.labels["outcome"]) == (READ, "ok")
    assert sample.exemplar is not None
    assert 0 < sample.exemplar.value <= float(sample.labels["le"])


async def test_nothing_that_is_sent_holds_a_user_or_a_token(traced: Service, collector: Collector) -> None:
    trace_id = "5af7651916cd43dd8448eb211c80319c"
    token = await traced.token()
    headers = {"authorization": token, "traceparent": parent_of(trace_id)}
    async with traced.http() as http:
        assert (await http.post("/rt-segment", json=one_user(USER), headers=headers)).status_code == 200
    await spans_of(collector, trace_id, APPLY)
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert b"instant-audience" in sent
    for secret in (USER, token, token.split(":")[2]):
        assert secret.encode() not in sent
