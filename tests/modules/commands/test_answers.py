"""Answers over REST, of the service and of others: those that are at a URL that somebody has mistyped."""

import click
import httpx
import pytest
from instantaudience_server.commands.connection.answers import AwayError, response_of


def answered(status: int, content: str) -> httpx.Response:
    return httpx.Response(status, content=content, request=httpx.Request("GET", "http://audience/segment"))


def test_what_somebody_else_answers_is_told(subtests: pytest.Subtests) -> None:
    for content in ["", "<html>", "[]", "{}", '{"response":null}', '{"response":1}', '{"response":"a"}', "[" * 100_000]:
        with subtests.test(content=content):
            for status, error in ((200, click.ClickException), (400, click.ClickException), (503, AwayError)):
                with pytest.raises(error, match=f"^http://audience/segment is not this service: HTTP {status}$"):
                    response_of(answered(status, content))


def test_what_an_answer_lacks_is_told() -> None:
    response = response_of(answered(200, '{"response":{"status":"OK"}}'))
    assert response["status"] == "OK"
    with pytest.raises(click.ClickException, match="is not this service: HTTP 200"):
        response["token"]
    with pytest.raises(AwayError, match="is not this service: HTTP 429"):
        response_of(answered(429, '{"response":{"error":"a"}}'))


def test_what_is_added_to_a_sentence_comes_before_its_end(subtests: pytest.Subtests) -> None:
    for headers, expected, seconds in [
        ({}, "SYSTEM: Out of reach.", 0),
        ({"retry-after": "2"}, "SYSTEM: Out of reach; try again in 2 s", 2),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "SYSTEM: Out of reach.", 0),
    ]:
        with subtests.test(headers=headers, expected=expected, seconds=seconds):
            answer = answered(503, '{"response":{"error_id":"SYSTEM","error":"Out of reach."}}')
            answer.headers.update(headers)
            with pytest.raises(AwayError) as raised:
                response_of(answer)
            assert (raised.value.message, raised.value.retry_seconds) == (expected, seconds)
