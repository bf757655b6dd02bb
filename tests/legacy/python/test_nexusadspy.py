"""nexusadspy, whose host is its argument `endpoint`; its uploader passes none on, so the tests do."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nexusadspy.segment
import pytest
from nexusadspy.client import AppnexusClient
from nexusadspy.exceptions import NexusadspyAPIError

NAME = "nexusadspy"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client keeps its token."""
    return tmp_path_factory.mktemp(NAME) / "token.json"


@pytest.fixture(scope="module")
def client(url: str, password: str, token_file: Path) -> AppnexusClient:
    return AppnexusClient(str(token_file), endpoint=url, username=NAME, password=password)


def test_it_signs_in_again_when_its_token_has_ended(
    client: AppnexusClient, end_token: Callable[[str], None], eventually: Callable[..., Any]
) -> None:
    (member,) = client.request("member", "GET")
    ended = client._get_cached_auth_token()
    end_token(ended)
    eventually(lambda: client.request("member", "GET") == [member] and client._get_cached_auth_token() != ended)


def test_a_wrong_password(url: str, tmp_path: Path) -> None:
    client = AppnexusClient(str(tmp_path / "token.json"), endpoint=url, username=NAME, password="wrong")
    with pytest.raises(NexusadspyAPIError, match="NOAUTH"):
        client.request("segment", "GET")


def test_pages(client: AppnexusClient, segments: int) -> None:
    found = [segment["id"] for segment in client.request("segment", "GET")]
    assert len(set(found)) == len(found) == segments
    assert [segment["id"] for segment in client.request("segment", "GET", data={"sort": "id.desc"})] == found[::-1]
    for parameters in ({"params": {"id": found[7]}}, {"data": {"id": found[7]}}):
        assert [segment["id"] for segment in client.request("segment", "GET", **parameters)] == [found[7]]


def test_a_segment_from_its_beginning_to_its_end(client: AppnexusClient, eventually: Callable[..., Any]) -> None:
    def is_named(name: str) -> bool:
        return [each["short_name"] for each in client.request("segment", "GET", params={"search": "Tea"})] == [name]

    (made,) = client.request("segment", "POST", data={"segment": {"short_name": "Tea"}})
    query = {"id": made["id"]}
    eventually(lambda: is_named("Tea"))
    client.request("segment", "PUT", params=query, data={"segment": {"short_name": "Tea drinkers"}})
    eventually(lambda: is_named("Tea drinkers"))
    client.request("segment", "DELETE", params=query)
    eventually(lambda: client.request("segment", "GET", params={"search": "Tea"}) == [])


def test_it_waits_when_it_has_called_too_often(url: str, password: str, tmp_path: Path) -> None:
    slow = AppnexusClient(str(tmp_path / "token.json"), endpoint=url, username=f"slow-{NAME}", password=password)
    seen: list[int] = []
    slow.session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
    for _ in range(20):
        assert slow.request("segment", "GET") == []
        if 429 in seen:
            return
    pytest.fail("it was never refused")


def test_a_file(
    client: AppnexusClient, url: str, password: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compresses it, and asks until the job has ended."""
    (member,) = client.request("member", "GET")
    segment_ids = [segment["id"] for segment in client.request("segment", "GET")[:2]]
    monkeypatch.setattr(nexusadspy.segment, "AppnexusClient", functools.partial(AppnexusClient, endpoint=url))
    monkeypatch.setenv("USERNAME_NEXUSADSPY", NAME)
    monkeypatch.setenv("PASSWORD_NEXUSADSPY", password)
    rows = [{"uid": uid, "seg_id": segment_id, "expiration": 60} for uid in (7, 8) for segment_id in segment_ids]
    rows.append({"uid": "nobody", "seg_id": segment_ids[0], "expiration": 0})
    uploader = nexusadspy.segment.AppnexusSegmentsUploader(
        [row | {"uid": str(row["uid"])} for row in rows],
        ["seg_id", "expiration"],
        [";", ",", ":", "\t", "^"],
        str(member["id"]),
        str(token_file),
    )
    assert uploader.upload(polling_duration_sec=0.2, max_retries=300) == (2, 1)
