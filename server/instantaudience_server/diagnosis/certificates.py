"""Checks when certificates expire: those in the configured files, and those that the service and the cluster's nodes
present."""

import asyncio
import datetime
import os
import ssl
from collections.abc import Iterator

from cryptography import x509

from instantaudience_server.diagnosis.finding import Finding, Level, problem, warning
from instantaudience_server.running.certificates.certificates import (
    CertificateError,
    end_of_file,
    file_in_url,
    read_certificates,
)
from instantaudience_server.settings import Settings

TOPIC = "certificates"
DAYS_PROBLEM, DAYS_WARNING = 3, 21
LIST_HOURS_PROBLEM, LIST_HOURS_WARNING = 6, 12
"""Certificate revocation lists are reissued every few days, some daily."""
SECONDS = 5.0
_DAY, _HOUR = 86_400, 3_600
_MEND = "replace it: what serves reads it again, without a restart"


def in_files(settings: Settings, now: float) -> Iterator[Finding]:
    """Check the certificate files in the settings; `now` is Unix time."""
    if settings.tls_cert is None:
        return
    try:
        ends = read_certificates(settings, now).ends
    except CertificateError as error:
        yield problem(TOPIC, str(error), "give files that belong together, have begun, and have not ended")
        return
    files = {"server": settings.tls_cert, "client_ca": settings.client_ca, "client_crl": settings.client_crl}
    for what, end in ends.items():
        yield ending(str(files[what]), end, now, is_list=what == "client_crl")


def for_the_cluster(redis: str, now: float) -> Iterator[Finding]:
    """Check the certificate files that the cluster's URL names; `now` is Unix time."""
    for option in ("ssl_ca_certs", "ssl_keyfile"):
        path = file_in_url(redis, option)
        if path is not None and not os.access(path, os.R_OK):
            yield problem(TOPIC, f"{path} cannot be read", f"look at {option} in the cluster's URL")
    path = file_in_url(redis)
    if path is None:
        return
    try:
        yield ending(str(path), end_of_file(path), now)
    except CertificateError as error:
        yield problem(TOPIC, str(error), "give the certificate that the cluster's nodes want to see")


async def shown(host: str, port: int, now: float) -> Finding:
    """Check the certificate that a TLS server presents. Its chain and name are not verified."""
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(SECONDS):
            pem = await asyncio.to_thread(ssl.get_server_certificate, (host, port), timeout=SECONDS)
    except (OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        return problem(TOPIC, f"{where} shows none: {error}", "look whether it takes TLS connections")
    certificate = x509.load_pem_x509_certificate(pem.encode())
    begin = certificate.not_valid_before_utc
    if begin.timestamp() > now:
        return problem(
            TOPIC, f"{where} begins at {_moment(begin)}", "look at the clocks, or put the former one back until then"
        )
    return ending(where, certificate.not_valid_after_utc.timestamp(), now)


def ending(where: str, end: float, now: float, *, is_list: bool = False) -> Finding:
    """The finding for an expiry. Days and hours are rounded down; `is_list` for certificate revocation lists."""
    unit, name = (_HOUR, "hours") if is_list else (_DAY, "days")
    bad, soon = (LIST_HOURS_PROBLEM, LIST_HOURS_WARNING) if is_list else (DAYS_PROBLEM, DAYS_WARNING)
    left = int((end - now) // unit)
    moment = _moment(datetime.datetime.fromtimestamp(end, datetime.UTC))
    if end <= now:
        return problem(TOPIC, f"{where} ended at {moment}", _MEND)
    if left < soon:
        kind = problem if left < bad else warning
        return kind(TOPIC, f"{where} ends at {moment}, in {left} {name}", _MEND)
    return Finding(Level.OK, TOPIC, f"{where} holds until {moment}")


def _moment(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
