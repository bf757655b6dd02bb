"""When certificates end, in files and as they are shown."""

import datetime
import time
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.diagnosis.certificates import for_the_cluster, in_files, shown
from instantaudience_server.diagnosis.deployment import diagnose
from instantaudience_server.diagnosis.finding import Level
from instantaudience_server.process.processes import free_ports
from instantaudience_server.settings import Settings
from support.cluster.tls import tls_terminated
from support.credentials.authorities import Authority

DAY = datetime.timedelta(days=1)
ENDS = [(30 * DAY, Level.OK, "holds until"), (10 * DAY, Level.WARNING, "in 9 days"), (DAY, Level.PROBLEM, "in 0 days")]


def settings(signed: Any) -> Settings:
    """With the certificate in their files."""
    return Settings(tls_cert=signed.cert, tls_key=signed.key)


@pytest.mark.parametrize(("lifetime", "level", "text"), ENDS)
async def test_the_end_of_a_certificate_is_told(
    tmp_path: Path, lifetime: datetime.timedelta, level: Level, text: str
) -> None:
    signed = Authority(tmp_path).sign("server", address="127.0.0.1", lifetime=lifetime)
    (in_file,) = in_files(settings(signed), time.time())
    (port,) = free_ports("127.0.0.1", 1)
    async with tls_terminated(port, 1, signed.cert, signed.key):
        as_shown = await shown("127.0.0.1", port, time.time())
    (for_nodes,) = for_the_cluster(f"rediss://a:6379?ssl_certfile={signed.cert}", time.time())
    for finding in (in_file, as_shown, for_nodes):
        assert finding.level is level
        assert text in finding.text


@pytest.mark.parametrize(
    ("hours", "level", "text"),
    [(48, Level.OK, "holds until"), (10, Level.WARNING, "in 9 hours"), (4, Level.PROBLEM, "in 3 hours")],
)
def test_lists_of_revoked_ones_live_for_days_alone(tmp_path: Path, hours: int, level: Level, text: str) -> None:
    authority, revocations = Authority(tmp_path), tmp_path / "revoked.crl"
    authority.revoke(revocations, lifetime=datetime.timedelta(hours=hours))
    signed = authority.sign("server", lifetime=30 * DAY)
    files = settings(signed).model_copy(update={"client_ca": authority.file, "client_crl": revocations})
    found = {finding.text.partition(" ")[0]: finding for finding in in_files(files, time.time())}
    assert found[str(revocations)].level is level
    assert text in found[str(revocations)].text


def test_a_file_for_the_cluster_that_is_none_is_a_problem() -> None:
    (finding,) = for_the_cluster("rediss://a:6379?ssl_certfile=missing.pem", time.time())
    assert finding.level is Level.PROBLEM
    assert "missing.pem: No such file" in finding.text
    assert list(for_the_cluster("rediss://a:6379", time.time())) == []


async def test_a_file_that_the_clusters_url_names_is_missed(subtests: pytest.Subtests) -> None:
    """What connects says no more than that there is no such file."""
    for option in ["ssl_ca_certs", "ssl_keyfile"]:
        with subtests.test(option=option):
            redis = Settings.model_validate({"redis": f"rediss://127.0.0.1:1?{option}=missing.pem"})
            found = [
                each async for each in diagnose(redis, None, acl_user=None, now=time.time) if each.topic != "files"
            ]
            assert [each.level for each in found] == [Level.PROBLEM] * 2
            assert "ssl_ca_certs says whom to trust" in found[0].mend
            assert found[1].text == "missing.pem cannot be read"
            assert option in found[1].mend


def test_one_that_has_ended_is_a_problem(tmp_path: Path) -> None:
    signed = Authority(tmp_path).sign("server", lifetime=-DAY)
    (finding,) = in_files(settings(signed), time.time())
    assert (finding.level, "ended" in finding.text) == (Level.PROBLEM, True)


async def test_one_that_has_not_begun_is_a_problem(tmp_path: Path) -> None:
    signed = Authority(tmp_path).sign("server", address="127.0.0.1", lifetime=30 * DAY, begins_in=DAY)
    (port,) = free_ports("127.0.0.1", 1)
    async with tls_terminated(port, 1, signed.cert, signed.key):
        for finding in (*in_files(settings(signed), time.time()), await shown("127.0.0.1", port, time.time())):
            assert (finding.level, "begins at" in finding.text) == (Level.PROBLEM, True)


async def test_who_shows_none_is_a_problem(subtests: pytest.Subtests) -> None:
    for host in ["127.0.0.1", f"{'a' * 70}.example"]:
        with subtests.test(host=host):
            finding = await shown(host, 1, time.time())
            assert finding.level is Level.PROBLEM
