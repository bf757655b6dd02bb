"""`doctor`: checks a deployment and says how to fix problems."""

import asyncio
import shutil
import sys
import textwrap
import time
from typing import Any

import click
import structlog

from instantaudience_server.commands.connection.reaching import service_url
from instantaudience_server.commands.connection.tls import Tls, tls_options
from instantaudience_server.commands.printing.as_json import json_option, print_json
from instantaudience_server.commands.printing.statuses import failing_is_two
from instantaudience_server.commands.settings_options import FILE, config_option, data_dir_option, option, read_settings
from instantaudience_server.diagnosis.finding import Finding, Level, worst
from instantaudience_server.settings import LOOPBACK, Settings

STATUSES = {Level.OK: 0, Level.WARNING: 1, Level.PROBLEM: 2}
COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_INDENT = 10


@click.command(short_help="Say what is wrong with a deployment, and how to mend it.")
@config_option
@option("--redis", "The cluster to look at; without it, the embedded one in --data-dir.", metavar="URL")
@data_dir_option
@option("--durability", "What has taken a write before it is acknowledged: primary, replica, disk.")
@option("--tls-cert", "The service's certificate chain (PEM).", type=FILE, metavar="FILE")
@option("--tls-key", "The certificate's key (PEM).", type=FILE, metavar="FILE")
@option("--client-ca", "The CAs of callers' certificates (PEM).", type=FILE, metavar="FILE")
@option("--client-crl", "The lists of those that are revoked (PEM).", type=FILE, metavar="FILE")
@option("--batch-store", "Where files are until they are applied; a folder in --data-dir where not set.", metavar="URL")
@option("--traces-endpoint", "The OpenTelemetry collector that traces are sent to.", metavar="URL")
@click.option("--acl-user", help="The user that the service has in the cluster, if it is not the one in --redis.")
@option("--host", "Address that the service listens on.")
@option("--http-port", "Its port for REST.", type=int)
@click.option(
    "--url",
    envvar="INSTANT_AUDIENCE_URL",
    show_envvar=True,
    help="Where the service is. Default: on this machine, as --host, --http-port and --tls-cert say.",
)
@click.option("--no-service", is_flag=True, help="Look at no service: it does not run yet.")
@json_option()
@failing_is_two
@tls_options
def doctor(
    host: str,
    http_port: int,
    acl_user: str | None,
    url: str | None,
    no_service: bool,
    as_json: bool,
    tls: Tls | None,
    **options: Any,
) -> None:
    """Check the cluster, certificates, store of files, traces and the service, and say how to mend what is wrong.

    It takes the settings of `serve`, from the same places, and changes nothing. The exit status is 0 where all is well,
    1 where there are warnings, 2 where there are problems, or where nothing could be looked at.
    """
    settings = read_settings(options)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if not no_service:
        url = url or _url_here(host, http_port, is_secure=settings.tls_cert is not None)
        service_url(url)
    findings = asyncio.run(_collect(settings, None if no_service else url, acl_user, tls or Tls()))
    if as_json:
        print_json([each._asdict() for each in findings])
    else:
        for finding in findings:
            _show(finding)
    sys.exit(STATUSES[worst(findings)])


async def _collect(settings: Settings, url: str | None, acl_user: str | None, tls: Tls) -> list[Finding]:
    # Imported here, as in `serve`: the other commands do not need it.
    from instantaudience_server.diagnosis.deployment import diagnose

    certificate = None if tls.cert is None else tls.context()
    return [each async for each in diagnose(settings, url, certificate, acl_user=acl_user, now=time.time)]


def _url_here(host: str, port: int, *, is_secure: bool) -> str:
    """The URL at which this machine reaches a service that listens there.

    Raises:
        click.UsageError: the port is any free one.
    """
    if not port:
        raise click.UsageError("--http-port 0 is any free one: say where the service is, with --url, or --no-service")
    address = LOOPBACK.get(host, host)
    return f"{'https' if is_secure else 'http'}://{f'[{address}]' if ':' in address else address}:{port}"


def _show(finding: Finding) -> None:
    """Print a finding, wrapped to the width of the terminal, and below it what to do."""
    width = shutil.get_terminal_size((80, 24)).columns
    level = click.style(f"{finding.level:<{_INDENT}}", fg=COLOURS[finding.level])
    for index, line in enumerate(_lines(f"{finding.topic}: {finding.text}", width - _INDENT)):
        click.echo((level if index == 0 else " " * _INDENT) + line)
    for index, line in enumerate(_lines(finding.mend, width - _INDENT - 2)):
        click.echo(" " * _INDENT + ("→ " if index == 0 else "  ") + line)


def _lines(text: str, width: int) -> list[str]:
    """Wrap text, but not at hyphens: paths and flags should remain copyable."""
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=False)
