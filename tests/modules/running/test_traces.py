"""When traces begin, and that their end sends what is left."""

import pytest
from google.rpc import code_pb2
from instantaudience_server.observation import tracing
from instantaudience_server.running.traces import ENDPOINT_VARIABLES, SAMPLER_VARIABLE, begin_traces
from instantaudience_server.settings import Settings
from structlog.testing import capture_logs
from support.outside.collectors import running_collector

PATH = "/audience.Segments/Apply"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ENDPOINT_VARIABLES, SAMPLER_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_there_are_none_unless_somebody_says_where_they_go() -> None:
    assert begin_traces(Settings(), 0) is None
    assert not tracing.is_on()


@pytest.mark.parametrize("by_environment", [False, True])
def test_the_end_sends_what_is_left(by_environment: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_collector() as collector:
        if by_environment:
            monkeypatch.setenv(ENDPOINT_VARIABLES[1], collector.url)
            monkeypatch.setenv(SAMPLER_VARIABLE, "always_on")
            settings = Settings(traces_ratio=0.0)
        else:
            settings = Settings(traces_endpoint=collector.url, traces_ratio=1.0)
        end = begin_traces(settings, 7)
        assert end is not None
        tracing.end_call(tracing.start_call(PATH, "r-1", "", 0.0), code_pb2.OK)
        end()
        assert not tracing.is_on()
        (request,) = collector.requests
    (resource,) = request.resource_spans
    told = {each.key: each.value for each in resource.resource.attributes}
    assert told["service.name"].string_value == "instant-audience"
    assert told["instant_audience.worker"].int_value == 7


def test_a_collector_that_is_away_is_told_and_soon_given_up() -> None:
    with running_collector() as collector:
        settings = Settings(traces_endpoint=collector.url, traces_ratio=1.0)
    end = begin_traces(settings, 0)
    assert end is not None
    tracing.end_call(tracing.start_call(PATH, "r-1", "", 0.0), code_pb2.OK)
    with capture_logs() as logs:
        end()
    assert {line["event"] for line in logs} == {"traces_not_sent"}
