"""One service for each host, with a member that has a quota."""

import json
from collections.abc import AsyncIterator

import pytest
from support.contract.model import UNLIMITED, UNLIMITED_DEMO
from support.service.running import HOST_MODES, Service, new_directory, running_service

FULL = {"id": 301, "name": "full", "limits": UNLIMITED | {"users_per_second": 1}}
PASSWORD = "Conforming-Passw0rd!"
CATALOG = UNLIMITED_DEMO | {
    "members": [*UNLIMITED_DEMO["members"], FULL],
    "users": [
        *UNLIMITED_DEMO["users"],
        {"id": 301, "username": "full", "password": PASSWORD, "member_id": 301},
    ],
}


@pytest.fixture(scope="package", params=HOST_MODES)
async def conforming(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """The service; at the end, it must have met no defect."""
    async with new_directory() as directory:
        (directory / "conforming.yaml").write_text(json.dumps(CATALOG))
        catalog = f"--catalog={directory / 'conforming.yaml'}"
        words = ("--workers", "1", "--call-timeout-seconds", "15")
        async with running_service(*words, directory=directory, host_mode=request.param, catalog=catalog) as running:
            yield running
            assert "call_defect" not in running.log
            assert "process_exited" not in running.log


@pytest.fixture(scope="package")
async def tokens(conforming: Service) -> dict[str, str]:
    """A token of each caller in the table; two who have none."""
    passwords = {"demo": None, "admin": None, "full": PASSWORD}
    signed_in = {name: await conforming.sign_in(name, password) for name, password in passwords.items()}
    return {"nobody": "", "stranger": "hbapi:1001:0123456789abcdef0123456789abcdef:local", **signed_in}
