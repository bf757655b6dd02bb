"""What operators are told of a cluster that may lose what it acknowledged."""

from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.settings import Durability
from instantaudience_server.store.durability_check import check_durability
from support.clusters import on_node


async def test_what_should_be_different_is_told_by_node(embedded: EmbeddedCluster) -> None:
    assert await check_durability(embedded.url, Durability.PRIMARY) == []
    port = embedded.ports[1]
    wrong = {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}
    right = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    for directive, value in wrong.items():
        await on_node(port, "CONFIG", "SET", directive, value)
    try:
        findings = await check_durability(embedded.url, Durability.PRIMARY)
    finally:
        for directive, value in right.items():
            await on_node(port, "CONFIG", "SET", directive, value)
    assert {(finding.node, finding.directive) for finding in findings} == {
        (f"127.0.0.1:{port}", each) for each in wrong
    }
    assert all(f"is {wrong[finding.directive]}, should be" in finding.text for finding in findings)


async def test_replicas_are_missed(embedded: EmbeddedCluster) -> None:
    (finding,) = await check_durability(embedded.url, Durability.REPLICA)
    assert "needs replicas" in finding.text
