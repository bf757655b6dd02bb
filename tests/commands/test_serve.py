"""`serve` with a catalog and a cluster of one's own."""

from pathlib import Path

import pytest
from redis.asyncio import RedisCluster
from support.answers import assert_http_error, body_of
from support.messages import USER, one_user
from support.service import HOST_MODES, PASSWORDS, Service, credentials, new_directory, running_service
from support.stored import stored

CATALOG = """
members: [{id: 5, name: Five, default_expiration: 0}]
users: [{id: 7, username: seven, password: a-password, member_id: 5}]
segments: [{id: 10001, member_id: 5, code: fives, short_name: Fives}]
"""


@pytest.mark.parametrize("host_mode", HOST_MODES[:1], indirect=True)
async def test_own_catalog_and_own_cluster(service: Service, cluster: RedisCluster, tmp_path: Path) -> None:
    """The cluster is another service's here; it goes on."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    catalog = f"--catalog={tmp_path / 'catalog.yaml'}"
    redis = f"redis://127.0.0.1:{service.node_ports[1]}"
    async with new_directory() as directory:
        arguments = ("--redis", redis, "--location", "eu-1", "--workers", "1")
        async with running_service(*arguments, directory=directory, catalog=catalog) as own, own.http() as http:
            assert not any(password in own.output + own.log for password in (*PASSWORDS.values(), "a-password"))
            assert f"curl {own.url}/healthz" in own.output
            assert_http_error(await http.post("/auth", json=credentials("demo")), 401, "NOAUTH")
            answer = await http.post("/auth", json=credentials("seven", "a-password"))
            token = body_of(answer)["response"]["token"]
            assert token.startswith("hbapi:7:")
            assert token.endswith(":eu-1")
            answer = await http.post("/rt-segment", json=one_user(value=5), headers={"authorization": token})
            assert answer.status_code == 200
            assert [event["event"] for event in own.events].count("worker_ready") == 1
        assert own.process.returncode == 0
        assert not (directory / "data").exists()
    assert await stored(cluster) == {("", USER): {10001: (5, 0)}}
