"""The message of `serve` after the start: addresses, and commands to try."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from instantaudience_server.commands.connection.demo import demo_curl_line
from instantaudience_server.commands.connection.reaching import DEFAULT_URL
from instantaudience_server.commands.printing.statuses import end_output
from instantaudience_server.settings import LOOPBACK, Settings

if TYPE_CHECKING:
    from instantaudience_server.running.supervisor import Started

EMPTY_CATALOG = """\
The catalog is empty, so nobody can sign in. Write a YAML file with a member and a user of role admin:

members: [{{id: 1, name: Example}}]
users: [{{id: 1, username: admin, password: "…", member_id: 1, role: admin}}]

Then start with --catalog FILE. From then on, that user may change the catalog while the service runs:
`{command} catalog import FILE`, `{command} member --help`, and so on."""
DEMO = "The demo catalog is loaded: its passwords are public, so keep this off any network."

AUTHORITY = "Where the certificate's authority is not a well-known one, add --cacert FILE."
CALLERS = "Callers {have} show a certificate: --cert FILE, with its key in the same file; curl takes another as --key."

_NAME = "instant-audience"


def welcome(settings: Settings, started: "Started") -> None:
    """Print the addresses, and commands that can be pasted as they are. Errors of the output are ignored: the service
    runs regardless."""
    try:
        _print(settings, started)
    except OSError:
        end_output()


def _print(settings: Settings, started: "Started") -> None:
    from instantaudience_gateway.console import files as console
    from instantaudience_gateway.reference import files as reference

    scheme = "http" if settings.tls_cert is None else "https"
    listening = f"{_bracketed(settings.host)}:{started.http_port}"
    url = f"{scheme}://{_bracketed(host_of(settings.host, started.certificate_names))}:{started.http_port}"
    lines = {
        "REST and gRPC:": f"{scheme}://{listening}",
        "gRPC:": f"{_bracketed(settings.host)}:{started.grpc_port}",
        "Console:": url + console.PAGE_PATH,
        "Reference:": url + reference.PAGE_PATH,
    }
    if started.metrics_port:
        lines["Metrics:"] = f"{scheme}://{_bracketed(settings.host)}:{started.metrics_port}/metrics"
    for heading, address in lines.items():
        click.echo(f"{heading:<14} {address}")
    command = command_name()
    option = "" if url == DEFAULT_URL else f" --url {url}"
    next_lines = [f"curl {url}/healthz"]
    if settings.demo:
        click.secho(DEMO, fg="yellow")
        next_lines = [demo_curl_line(url), f"{command} get 12345678900987654321{option}"]
    elif started.catalog_is_empty:
        click.secho(EMPTY_CATALOG.format(command=command), fg="yellow")
    else:
        next_lines.append(f"{command} login{option}")
    if settings.tls_cert is not None:
        click.echo(AUTHORITY)
    if settings.client_ca is not None:
        have = "have to" if settings.client_certificates == "required" else "may"
        click.echo(CALLERS.format(have=have))
    click.echo("\n" + "\n\n".join(["Try it:", *next_lines]) + "\n")
    sys.stdout.flush()


def host_of(listening: str, names: Sequence[str]) -> str:
    """The host for URLs: one that reaches the service from this machine and, with a certificate, is one of its names;
    if there is none, another name of the certificate."""
    address = LOOPBACK.get(listening, listening)
    local = [address, "localhost"] if address in LOOPBACK.values() else [address]
    return next((each for each in (*local, *names) if each in names), address)


def command_name() -> str:
    """The command that runs this program again from the same shell and directory."""
    called = Path(sys.argv[0])
    if called.name != _NAME:
        return f"{shlex.quote(sys.executable)} -m instantaudience_server"
    found = shutil.which(_NAME)
    return _NAME if found and Path(found).samefile(called) else shlex.quote(sys.argv[0])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
