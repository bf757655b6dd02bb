"""When certificates end, in files and as they are shown."""

import datetime
import time
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.diagnosis.certificates import in_files, shown
from instantaudience_server.diagnosis.finding import Level
from instantaudience_server.processes import free_ports
from instantaudience_server.settings import Settings
from support.authorities import Authority
from support.tls import tls_terminated

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
    for finding in (in_file, as_shown):
        assert finding.level is level
        assert text in finding.text


def test_one_that_has_ended_is_a_problem(tmp_path: Path) -> None:
    signed = Authority(tmp_path).sign("server", lifetime=-DAY)
    (finding,) = in_files(settings(signed), time.time())
    assert (finding.level, "ended" in finding.text) == (Level.PROBLEM, True)


@pytest.mark.parametrize("host", ["127.0.0.1", f"{'a' * 70}.example"])
async def test_who_shows_none_is_a_problem(host: str) -> None:
    finding = await shown(host, 1, time.time())
    assert finding.level is Level.PROBLEM
