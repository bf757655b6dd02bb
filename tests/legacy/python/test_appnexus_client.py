"""appnexus-client, whose host is its attribute `url`."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
from appnexus import BatchSegment, Member, Segment
from appnexus.client import AppNexusClient
from appnexus.exceptions import AppNexusException, BadCredentials

NAME = "appnexus-client"
MODELS = (BatchSegment, Member, Segment)


class Client(AppNexusClient):
    """It counts how often it was refused for calling too often."""

    waits = 0

    def _handle_rate_exceeded(self, response: requests.Response) -> None:
        self.waits += 1
        super()._handle_rate_exceeded(response)


def new_client(url: str, username: str, password: str) -> Client:
    made = Client(username, password)
    made.url = f"{url}/"
    return made


@pytest.fixture(scope="module")
def client(url: str, password: str) -> Client:
    """It signs in by itself."""
    signed_in = new_client(url, NAME, password)
    for model in MODELS:
        model.client = signed_in
    return signed_in


def test_it_signs_in_again_when_its_token_has_ended(
    client: Client, end_token: Callable[[str], None], eventually: Callable[..., Any]
) -> None:
    member = Member.find_one()
    assert member.name == NAME
    ended = client.token
    end_token(ended)
    eventually(lambda: Member.find_one().id == member.id and client.token != ended)


def test_a_wrong_password(url: str) -> None:
    with pytest.raises(BadCredentials):
        new_client(url, NAME, "wrong").get("segment")


def test_pages(client: Client, segments: int) -> None:
    found = [segment.id for segment in Segment.find()]
    assert len(set(found)) == len(found) == segments
    assert Segment.count() == segments
    assert Segment.find(sort="id.desc").first.id == max(found)
    assert [segment.id for segment in Segment.find(search=str(found[7]))] == found[7:8]


def test_a_segment_from_its_beginning_to_its_end(client: Client, eventually: Callable[..., Any]) -> None:
    """The library sends the whole object back, with what it may not change."""
    made = Segment.create({"short_name": "Tea", "code": "tea"}, member_id=Member.find_one().id)["segment"]
    segment = eventually(lambda: Segment.find_one(id=made["id"]), AppNexusException)
    assert (segment.short_name, segment.code, segment.state) == ("Tea", "tea", "active")
    segment.short_name, segment.expire_minutes = "Tea drinkers", 60
    segment.save()

    def is_changed() -> bool:
        shown = client.get("segment", code="tea")["segment"]
        return (shown["id"], shown["short_name"], shown["expire_minutes"]) == (made["id"], "Tea drinkers", 60)

    eventually(is_changed, AppNexusException)
    assert Segment.delete(made["id"])["status"] == "OK"

    def is_gone() -> bool:
        with pytest.raises(AppNexusException):
            Segment.find_one(id=made["id"])
        return True

    eventually(is_gone, pytest.fail.Exception)


def test_what_fields_there_are(client: Client) -> None:
    assert {"id", "code", "state"} <= {field["name"] for field in Segment.meta()["fields"]}


def test_it_waits_when_it_has_called_too_often(url: str, password: str) -> None:
    slow = new_client(url, f"slow-{NAME}", password)
    for _ in range(20):
        assert slow.get("segment")["count"] == 0
        if slow.waits:
            return
    pytest.fail("it was never refused")


def test_a_file(client: Client, eventually: Callable[..., Any]) -> None:
    member_id = Member.find_one().id
    segment_id = Segment.find_one().id
    job = client.create("batch-segment", None, member_id=member_id)["batch_segment_upload_job"]
    content = f"7652266028043224430;{segment_id}:0\nnobody;{segment_id}:0\n".encode()
    requests.post(job["upload_url"], data=content, timeout=20).raise_for_status()

    def ended() -> Any:
        found = BatchSegment.find_one(member_id=member_id, job_id=job["job_id"])
        return found if found.phase == "completed" else None

    done = eventually(ended)
    assert (done.percent_complete, done.num_valid, done.num_invalid_user) == (100, 1, 1)
    assert job["job_id"] in [each.job_id for each in BatchSegment.find(member_id=member_id)]
