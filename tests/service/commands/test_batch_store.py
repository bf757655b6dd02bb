"""Files in an object store: `serve --batch-store s3://…`."""

import asyncio

from support.outside.s3 import running_s3
from support.service.running import running_service
from support.waiting import eventually

LINES = 200_000


async def test_a_file_goes_through_an_object_store() -> None:
    """Nothing of it is on this machine's disk, and nothing is left."""
    file = b"".join([b"%d;10001:0\n" % (8_000_000_000 + number) for number in range(LINES)])
    with running_s3() as url:
        async with running_service("--workers", "1", "--batch-store", url) as service, service.http() as http:
            http.headers["authorization"] = await service.token()
            job = (await http.post("/batch-segment")).json()["response"]["batch_segment_upload_job"]
            assert (await http.put(job["upload_url"], content=file)).status_code == 200

            async def completed() -> None:
                answer = await http.get("/batch-segment", params={"job_id": job["job_id"]})
                found = answer.json()["response"]["batch_segment_upload_job"]
                assert (found["phase"], found["num_valid"]) == ("completed", LINES)

            await eventually(completed, 90)
            assert not await asyncio.to_thread((service.directory / "data/batch-files").exists)
