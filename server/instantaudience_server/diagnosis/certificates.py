"""How long certificates hold: those in the service's files, and those that it and the cluster's nodes show."""

import asyncio
import datetime
import ssl
from collections.abc import Iterator

from cryptography import x509

from instantaudience_server.diagnosis.finding import Finding, Level, problem, warning
from instantaudience_server.running.certificates import CertificateError, read_certificates
from instantaudience_server.settings import Settings

TOPIC = "certificates"
DAYS_PROBLEM, DAYS_WARNING = 3, 21
SECONDS = 5.0
_DAY = 86_400
_MEND = "replace it: what serves reads it again, without a restart"


def in_files(settings: Settings, now: float) -> Iterator[Finding]:
    """What the files of the settings hold; `now` is Unix time."""
    if settings.tls_cert is None:
        return
    try:
        ends = read_certificates(settings, now).ends
    except CertificateError as error:
        yield problem(TOPIC, str(error), "give files that belong together and have not ended")
        return
    files = {"server": settings.tls_cert, "client_ca": settings.client_ca, "client_crl": settings.client_crl}
    for what, end in ends.items():
        yield ending(str(files[what]), end, now)


async def shown(host: str, port: int, now: float) -> Finding:
    """What somebody shows who takes TLS connections; whether one should trust it is not asked."""
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(SECONDS):
            pem = await asyncio.to_thread(ssl.get_server_certificate, (host, port), timeout=SECONDS)
    except (OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        return problem(TOPIC, f"{where} shows none: {error}", "look whether it takes TLS connections")
    return ending(where, x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp(), now)


def ending(where: str, end: float, now: float) -> Finding:
    """What an end means. Days are whole ones."""
    days = int((end - now) // _DAY)
    moment = f"{datetime.datetime.fromtimestamp(end, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return problem(TOPIC, f"{where} ended at {moment}", _MEND)
    if days < DAYS_WARNING:
        kind = problem if days < DAYS_PROBLEM else warning
        return kind(TOPIC, f"{where} ends at {moment}, in {days} days", _MEND)
    return Finding(Level.OK, TOPIC, f"{where} holds until {moment}")
