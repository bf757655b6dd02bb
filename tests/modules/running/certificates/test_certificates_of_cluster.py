"""The certificate that nodes are shown."""

import asyncio
from pathlib import Path

import pytest
from instantaudience_server.observation import metrics
from instantaudience_server.running.certificates.certificates import (
    CertificateError,
    end_of_file,
    file_in_url,
    keep_noting,
)
from prometheus_client import REGISTRY
from support.credentials.authorities import Authority
from support.waiting import eventually

NAME = "instant_audience_certificate_end_timestamp_seconds"


def test_the_url_names_it(subtests: pytest.Subtests) -> None:
    for url, file in [
        ("redis://a:6379", None),
        ("rediss://a:6379?ssl_ca_certs=/ca.pem", None),
        ("rediss://a:6379?ssl_ca_certs=/ca.pem&ssl_certfile=/my%20own.pem&ssl_keyfile=/k.pem", Path("/my own.pem")),
        ("rediss://[", None),
    ]:
        with subtests.test(url=url, file=file):
            assert file_in_url(url) == file


def test_what_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name, text in (("empty.pem", "empty.pem: it holds no certificate"), ("no.pem", "no.pem: No such file")):
        with pytest.raises(CertificateError, match=text):
            end_of_file(tmp_path / name)


async def test_its_end_is_a_metric(tmp_path: Path) -> None:
    signed = Authority(tmp_path).sign("worker")
    noting = asyncio.create_task(keep_noting(f"rediss://a:6379?ssl_certfile={signed.cert}"))

    async def noted() -> None:
        found = REGISTRY.get_sample_value(NAME, {"worker": metrics.WORKER, "file": "cluster"})
        assert found == signed.certificate.not_valid_after_utc.timestamp()

    await eventually(noted)
    noting.cancel()
