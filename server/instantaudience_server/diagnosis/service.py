"""Checks a running service, with requests that need no sign-in."""

import email.utils
import ssl
from collections.abc import AsyncIterator

import httpx

from instantaudience_server.diagnosis.cluster import CLOCK_PROBLEM_SECONDS
from instantaudience_server.diagnosis.finding import Finding, Level, problem, warning

TOPIC = "service"
SECONDS = 5.0
DATE_SECONDS = 2.0
"""Tolerance for the resolution of the `date` header and the transmission time."""
_MORE = {
    "http": ", and https:// where it has TLS",
    "https": "; where it wants to see a certificate, say which one with --cert",
}


async def ask(url: str, certificate: ssl.SSLContext | None, now: float) -> AsyncIterator[Finding]:
    """Check the service's health endpoints and its clock. The server's certificate is not verified, since nothing
    secret is sent. `certificate` has the client certificate, for a service that asks for one; `now` is Unix time."""
    context = certificate or ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with httpx.AsyncClient(base_url=url, timeout=SECONDS, verify=context, trust_env=False) as http:
            alive, ready = await http.get("/healthz"), await http.get("/readyz")
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:  # SSLError: refused when it seemed to be over
        yield problem(
            TOPIC,
            f"{url} does not answer: {str(error) or type(error).__name__}",
            f"start it, or name it with --url{_MORE[url.partition(':')[0].lower()]}",
        )
        return
    if alive.status_code != httpx.codes.OK:
        yield problem(TOPIC, f"{url} is not this service: /healthz is HTTP {alive.status_code}", "name it with --url")
        return
    if ready.status_code == httpx.codes.OK:
        yield Finding(Level.OK, TOPIC, f"{url} is ready")
    else:
        yield problem(TOPIC, f"{url} is {_text(ready)}", 'docs/observability.md, "Health", has the words')
    date = email.utils.parsedate_to_datetime(ready.headers["date"]).timestamp() if "date" in ready.headers else now
    if abs(date - now) > DATE_SECONDS + SECONDS:
        kind = problem if abs(date - now) > CLOCK_PROBLEM_SECONDS else warning
        yield kind(TOPIC, f"its clock differs from this machine's by {abs(date - now):.0f} s", "have NTP set both")


def _text(answer: httpx.Response) -> str:
    """The error in a response."""
    try:
        return str(answer.json()["response"]["error"])
    except (ValueError, KeyError, TypeError):
        return f"not ready: HTTP {answer.status_code}"
