"""Libraries that no registry has which can be reached: plain HTTP that sends the requests which they send."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

JSON = "application/json"


@dataclass(frozen=True)
class Library:
    """How a library calls. Paths have `{member}` in them."""

    name: str
    segments: str
    segments_query: dict[str, str] = field(default_factory=dict)
    """What stands in every query about segments."""
    content_type: str | None = JSON
    nothing: bytes | None = None
    """The body of calls that have nothing to say."""
    token_from_cookie: bool = False
    body_of_pages: Callable[[int], bytes | None] = lambda start: None
    every_get: dict[str, str] = field(default_factory=dict)
    """What stands in the query of every GET that says nothing else of it."""
    reads_past_the_end: bool = False
    """It asks for pages until one is empty, else until it has as many as `count` says."""


LIBRARIES = [
    # Python: parameters in the query, and uploads as a stream of bytes.
    Library("pynexus", "/segment", {"member_id": "{member}"}),
    # Ruby: the member in the path, and a page of whatever is read.
    Library(
        *("appnexusapi", "/segment/{member}"),
        every_get={"num_elements": "100", "start_element": "0"},
        reads_past_the_end=True,
    ),
    # PHP: curl's own content type, and an empty list where there is nothing to say.
    Library(
        *("f3ath", "/segment", {"member_id": "{member}"}, "application/x-www-form-urlencoded"),
        nothing=b"[]",
    ),
    # Go: no content type, the token out of the first cookie, and its options once more as the body of a GET.
    Library(
        *("watermanio", "/segment/{member}"),
        content_type=None,
        token_from_cookie=True,
        body_of_pages=lambda start: json.dumps({"StartElement": start, "NumElements": 100, "Active": False}).encode(),
    ),
]


class StandIn:
    """Calls as the library does, and signs in again where the token has ended."""

    def __init__(self, library: Library, url: str, username: str, password: str) -> None:
        self.library = library
        self.token = ""
        self.member = 0
        self._url = url
        self._credentials = {"auth": {"username": username, "password": password}}
        self._http = requests.Session()
        self._http.cookies.set_policy(NoCookies())

    def sign_in(self) -> requests.Response:
        answer = self.call("POST", "/auth", self._credentials, signed_in=False)
        if answer.ok:
            cookie = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
            self.token = cookie if self.library.token_from_cookie else answer.json()["response"]["token"]
        return answer

    def call(
        self,
        method: str,
        path: str,
        content: Any = None,
        query: dict[str, Any] | None = None,
        *,
        signed_in: bool = True,
    ) -> requests.Response:
        """One request; content is sent as JSON unless it is bytes."""
        if content is None and method != "GET":
            content = self.library.nothing
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        if method == "GET":
            query = self.library.every_get | (query or {})
        headers = {"Authorization": self.token} if signed_in else {}
        if body is not None and self.library.content_type:
            headers["Content-Type"] = self.library.content_type
        url = path if path.startswith("http") else self._url + path
        return self._http.request(method, url, params=query, data=body, headers=headers, timeout=20)

    def response(self, *words: Any, **query: Any) -> dict[str, Any]:
        """What a call leads to that must succeed."""
        answer = self.call(*words, query=query)
        if answer.json()["response"].get("error_id") == "NOAUTH":
            self.sign_in()
            answer = self.call(*words, query=query)
        assert answer.status_code == 200, answer.text
        response: dict[str, Any] = answer.json()["response"]
        assert response["status"] == "OK"
        return response

    def segment(self, method: str, content: Any = None, **query: Any) -> dict[str, Any]:
        """A call about segments."""
        fixed = {name: value.format(member=self.member) for name, value in self.library.segments_query.items()}
        return self.response(method, self.library.segments.format(member=self.member), content, **fixed, **query)


class NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):
    """None is kept: these libraries send the token in a header alone."""

    def set_ok(self, cookie: Any, request: Any) -> bool:
        return False


@pytest.fixture(scope="module", params=LIBRARIES, ids=lambda library: library.name)
def caller(request: pytest.FixtureRequest, url: str, password: str) -> StandIn:
    """Signed in."""
    library: Library = request.param
    made = StandIn(library, url, library.name, password)
    assert made.sign_in().status_code == 200
    made.member = made.response("GET", "/member")["member"]["id"]
    return made


def test_it_signs_in_again_when_its_token_has_ended(
    caller: StandIn, end_token: Callable[[str], None], eventually: Callable[..., Any]
) -> None:
    ended = caller.token
    end_token(ended)

    def has_signed_in() -> bool:
        return caller.response("GET", "/member")["member"]["id"] == caller.member and caller.token != ended

    eventually(has_signed_in)


def test_a_wrong_password(caller: StandIn, url: str) -> None:
    answer = StandIn(caller.library, url, caller.library.name, "wrong").sign_in()
    assert answer.status_code == 401
    response = answer.json()["response"]
    assert (response["error_id"], response["error_code"]) == ("NOAUTH", "INVALID_LOGIN")


def pages(caller: StandIn) -> Iterator[dict[str, Any]]:
    start, count = 0, 1
    while caller.library.reads_past_the_end or start < count:
        body = caller.library.body_of_pages(start)
        page = caller.segment("GET", body, start_element=start, num_elements=100)
        count = page["count"]
        if not page["segments"]:
            return
        yield from page["segments"]
        start += len(page["segments"])


def test_pages(caller: StandIn, segments: int) -> None:
    found = [segment["id"] for segment in pages(caller)]
    assert len(set(found)) == len(found) == segments


def test_a_segment_from_its_beginning_to_its_end(caller: StandIn, eventually: Callable[..., Any]) -> None:
    def names() -> list[str]:
        return [each["short_name"] for each in caller.segment("GET", search="Tea")["segments"]]

    made = caller.segment("POST", {"segment": {"short_name": "Tea", "member_id": 0}})["segment"]
    eventually(lambda: names() == ["Tea"])
    caller.segment("PUT", {"segment": made | {"short_name": "Tea drinkers"}}, id=made["id"])
    eventually(lambda: names() == ["Tea drinkers"])
    one = eventually(lambda: caller.segment("GET", id=made["id"]), AssertionError)
    assert one["segment"]["id"] == made["id"]
    caller.segment("DELETE", id=made["id"])
    eventually(lambda: names() == [])


def test_it_is_told_to_wait_when_it_has_called_too_often(caller: StandIn, url: str, password: str) -> None:
    slow = StandIn(caller.library, url, f"slow-{caller.library.name}", password)
    slow.sign_in()
    for _ in range(20):
        answer = slow.call("GET", "/segment")
        if answer.status_code == 429:
            assert answer.json()["response"]["error_code"] == "RATE_EXCEEDED"
            assert answer.headers["retry-after"] == "1"
            return
    pytest.fail("it was never refused")


def test_a_file(caller: StandIn, eventually: Callable[..., Any]) -> None:
    """Its upload has a token, too, and the job of one ID is an object."""
    segment_id = next(pages(caller))["id"]
    created = caller.response("POST", "/batch-segment", member_id=caller.member)["batch_segment_upload_job"]
    content = f"7652266028043224430;{segment_id}:0\nnobody;{segment_id}:0\n".encode()
    uploaded = caller.response("POST", created["upload_url"], content)
    assert uploaded["segment_upload"]["job_id"] == created["job_id"]

    def ended() -> dict[str, Any] | None:
        query = {"member_id": caller.member, "job_id": created["job_id"]}
        found: dict[str, Any] = caller.response("GET", "/batch-segment", **query)["batch_segment_upload_job"]
        return found if found["percent_complete"] == 100 else None

    job = eventually(ended)
    assert (job["phase"], job["num_valid"], job["num_invalid_user"]) == ("completed", 1, 1)
