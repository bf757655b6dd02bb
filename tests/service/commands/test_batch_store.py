"""Where files are until they are applied: `serve --batch-store …`."""

import asyncio
from pathlib import Path

from support.outside.s3 import running_s3
from support.service.running import running_service
from support.waiting import eventually

LINES = 200_000
PUBLIC_URL = "https://audience.example.com"


async def test_a_file_goes_through_an_object_store() -> None:
    """Nothing of it is on this machine's disk, and nothing is left. Where it is to be sent begins as is set."""
    file = b"".join([b"%d;10001:0\n" % (8_000_000_000 + number) for number in range(LINES)])
    with running_s3() as url:
        words = ("--workers", "1", "--batch-store", url, "--public-url", PUBLIC_URL)
        async with running_service(*words) as service, service.http() as http:
            http.headers["authorization"] = await service.token()
            job = (await http.post("/batch-segment")).json()["response"]["batch_segment_upload_job"]
            assert job["upload_url"].startswith(f"{PUBLIC_URL}/batch-segment-upload/")
            answer = await http.put(job["upload_url"].removeprefix(PUBLIC_URL), content=file)
            assert answer.status_code == 200

            async def completed() -> None:
                answer = await http.get("/batch-segment", params={"job_id": job["job_id"]})
                found = answer.json()["response"]["batch_segment_upload_job"]
                assert (found["phase"], found["num_valid"]) == ("completed", LINES)

            await eventually(completed, 90)
            assert not await asyncio.to_thread((service.directory / "data/batch-files").exists)


async def test_why_a_file_could_not_be_kept_is_told(tmp_path: Path) -> None:
    (place := tmp_path / "no folder").touch()
    async with running_service("--workers", "1", "--batch-store", place.as_uri()) as service, service.http() as http:
        http.headers["authorization"] = await service.token()
        job = (await http.post("/batch-segment")).json()["response"]["batch_segment_upload_job"]
        answer = await http.put(job["upload_url"], content=b"8000000000;10001:0\n")
        assert answer.status_code == 503

        async def told() -> None:
            reasons = {each["error"] for each in service.events if each["event"] == "batch_store_failed"}
            assert any("File exists" in each or "Not a directory" in each for each in reasons), reasons
            (failed,) = [each for each in service.events if each["event"] == "call_failed"]
            assert failed["request_id"] == answer.headers["x-request-id"]
            assert (failed["method"], failed["member_id"]) == ("batch-segment-upload/", 123)
            assert failed["error"] == "the store of files is out of reach"

        await eventually(told)
