"""Validates the URL of a service, and checks whether the service can be reached."""

import ipaddress
import queue
import socket
import threading
from urllib.parse import SplitResult, urlsplit

import click

DEFAULT_URL = "http://127.0.0.1:8080"
REACH_SECONDS = 2.0
"""Time limit for each of DNS lookup, connecting, and a first response."""
SCHEMES = {"http": 80, "https": 443}


def service_url(url: str) -> SplitResult:
    """Parse and validate the URL of a service. `port` may be None: see `port_of`.

    Raises:
        click.ClickException: it is not the URL of a service.
    """
    if not url.isprintable():
        raise click.ClickException("the URL has characters that no URL has")
    if "://" not in url:
        raise click.ClickException(f"{url} has no scheme: it would be http://{url}, or https://{url}")
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError("no service has port 0")
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise click.ClickException(f"{url} is no URL: {error}") from None
    if parts.scheme not in SCHEMES:
        raise click.ClickException(f"{url} has the scheme {parts.scheme}: services have http or https")
    if not parts.hostname:
        raise click.ClickException(f"{url} names no host")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise click.ClickException(f"{url} says more than a service needs: scheme, host and port")
    return parts


def port_of(parts: SplitResult) -> int:
    """The port of a URL, or the default of its scheme."""
    return parts.port or SCHEMES.get(parts.scheme, 0)


def endpoint_of(parts: SplitResult) -> str:
    """The host and port of a URL, as gRPC takes them: with brackets around an IPv6 address."""
    host = parts.hostname or ""
    return f"[{host}]:{port_of(parts)}" if ":" in host else f"{host}:{port_of(parts)}"


def reach(parts: SplitResult) -> None:
    """Connect and disconnect, to find out early whether the service can be reached.

    Raises:
        click.ClickException: there is no such host.
        OSError: nothing accepts connections there.
    """
    host = parts.hostname or ""
    problem = OSError("it has no address")
    for family, kind, protocol, _, address in _addresses(host, port_of(parts)):
        with socket.socket(family, kind, protocol) as opened:
            opened.settimeout(REACH_SECONDS)
            try:
                opened.connect(address)
                return
            except OSError as error:
                problem = error
    raise problem


def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """The addresses of a host. `getaddrinfo` has no timeout, so it runs in a thread that is abandoned if it takes too
    long."""
    answers: queue.SimpleQueue[list[tuple[int, int, int, str, tuple[str, int]]] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))  # type: ignore[arg-type]
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=REACH_SECONDS)
    except queue.Empty:
        answer = TimeoutError("looking it up takes too long")
    if isinstance(answer, OSError):
        raise click.ClickException(f"there is no host {host} ({answer.strerror or answer}): name another with --url")
    return answer


def is_loopback(parts: SplitResult) -> bool:
    """Whether the service is on this machine, so that the demo catalog's accounts may be used."""
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
