"""The generated stubs tell type checkers what methods take and give, with `async` and without."""

import sys
from pathlib import Path

import pytest
from mypy import api

CLIENT = Path(__file__).parents[3] / "clients/python"
PROGRAM = """
import grpc
import grpc.aio
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.usage_pb2 import GetProcessedRequest
from instantaudience.v1.usage_pb2_grpc import UsageServiceStub


async def call(channel: grpc.aio.Channel) -> None:
    stub = AudienceServiceStub(channel)
    answer = await stub.ApplySegments(pb.ApplySegmentsRequest(), timeout=1.0)
    reveal_type(answer)
    async for each in stub.StreamSegments(iter([pb.StreamSegmentsRequest()])):
        reveal_type(each)
    reveal_type(await UsageServiceStub(channel).GetProcessed(GetProcessedRequest()))


def call_blocking(channel: grpc.Channel) -> None:
    stub = AudienceServiceStub(channel)
    reveal_type(stub.GetMemberships(pb.GetMembershipsRequest(user_id="1")))
"""
WRONG = """
    stub.GetMemberships(pb.ApplySegmentsRequest())
"""
ANSWERS = [
    "instantaudience.v1.audience_pb2.ApplySegmentsResponse",
    "instantaudience.v1.audience_pb2.StreamSegmentsResponse",
    "google.api.httpbody_pb2.HttpBody",
    "instantaudience.v1.audience_pb2.GetMembershipsResponse",
]


@pytest.mark.parametrize("is_wrong", [False, True])
def test_strict_callers_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_wrong: bool) -> None:
    monkeypatch.setenv("MYPYPATH", str(CLIENT))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + (WRONG if is_wrong else ""))
    # Packages of Google come without types.
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path.parent}", "--follow-untyped-imports"]
    depth = sys.getrecursionlimit()
    told, trouble, status = api.run([*options, "--ignore-missing-imports", str(program)])
    # mypy lets this process call deeper, for good; other tests count on what Python allows.
    sys.setrecursionlimit(depth)
    assert not trouble
    revealed = [line.split('"')[1] for line in told.splitlines() if "Revealed type" in line]
    assert revealed == ANSWERS
    assert status == int(is_wrong), told
    assert ('incompatible type "ApplySegmentsRequest"' in told) == is_wrong
