"""How a member's files are read, as REST callers see and change it (contract-neighbours, section 2)."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from instantaudience.rest.v1 import batch_pb2 as pb
from instantaudience.rest.v1.batch_pb2_grpc import BatchServiceStub
from support.contract.answers import body_of
from support.service.running import ON_ONE_HOST, Service

PATH = "/batch-segment-config?member_id=777"


@ON_ONE_HOST
async def test_a_change_shows_at_once_whichever_worker_is_asked(service: Service) -> None:
    async with service.http(headers={"authorization": await service.token("admin")}) as admin:
        for separator in ("!", "#", "~", "^"):
            change = {"batch_segment_config": {"separator_5": separator}}
            (await admin.put(PATH, json=change)).raise_for_status()
            for answer in await asyncio.gather(*[admin.get(PATH) for _ in range(8)]):
                assert body_of(answer)["response"]["batch_segment_config"]["separator_5"] == separator


@ON_ONE_HOST
@pytest.mark.parametrize(
    ("change", "field"),
    [({"separator_1": "ab"}, "separator_1"), ({"segment_fields": "VALUE"}, "segment_fields")],
    ids=["separator", "fields"],
)
async def test_a_change_that_may_not_be_names_its_field_over_grpc(
    service: Service, change: dict[str, Any], field: str
) -> None:
    metadata = (("authorization", await service.token("admin")),)
    async with service.channel("direct") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await BatchServiceStub(channel).ChangeConfig(
                pb.ChangeConfigRequest(member_id=777, batch_segment_config=pb.BatchConfig(**change)), metadata=metadata
            )
    assert str(raised.value.details()).startswith(f"'{field}' must ")
    status = dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in status_pb2.Status.FromString(status).details)
    assert [each.field for each in bad_request.field_violations] == [f"batch_segment_config.{field}"]
