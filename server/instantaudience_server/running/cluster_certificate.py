"""Publishes when the service's client certificate for the cluster (`rediss://…?ssl_certfile=…`) ends, as a metric."""

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from instantaudience_server.observation import metrics
from instantaudience_server.running.certificates import CertificateError, end_of_certificates

LOOK_SECONDS = 60.0


def file_of(redis: str, option: str = "ssl_certfile") -> Path | None:
    """The file that an option of a cluster's URL names; None where it names none."""
    try:
        named = parse_qs(urlsplit(redis).query).get(option, [])
    except ValueError:
        return None
    return Path(named[-1]) if named else None


def end_of(path: Path) -> float:
    """When the first certificate in a file ends (Unix time).

    Raises:
        CertificateError: the file cannot be read, or has no certificate.
    """
    try:
        return end_of_certificates(path.read_bytes()).timestamp()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(f"{path}: it holds no certificate") from error


async def keep_noting(redis: str) -> None:
    """Set the metric every minute, as the certificate may be replaced; runs forever, unless the URL names none."""
    path = file_of(redis)
    while path is not None:
        with contextlib.suppress(CertificateError):  # the next connection fails for the same reason, and reports it
            end = await asyncio.to_thread(end_of, path)
            metrics.CERTIFICATE_END_TIMESTAMP.labels(metrics.WORKER, "cluster").set(end)
        await asyncio.sleep(LOOK_SECONDS)
