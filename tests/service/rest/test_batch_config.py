"""How a member's files are read, as REST callers see and change it (contract-neighbours, section 2)."""

import asyncio

from support.answers import body_of
from support.service import ON_ONE_HOST, Service

PATH = "/batch-segment-config?member_id=777"


@ON_ONE_HOST
async def test_a_change_shows_at_once_whichever_worker_is_asked(service: Service) -> None:
    async with service.http(headers={"authorization": await service.token("admin")}) as admin:
        for separator in ("!", "#", "~", "^"):
            change = {"batch_segment_config": {"separator_5": separator}}
            (await admin.put(PATH, json=change)).raise_for_status()
            for answer in await asyncio.gather(*[admin.get(PATH) for _ in range(8)]):
                assert body_of(answer)["response"]["batch_segment_config"]["separator_5"] == separator
