"""A cluster with replicas, and a service on it whose calls have time to wait for a failover."""

from collections.abc import AsyncIterator

import pytest
from support.cluster.replicated import ReplicatedCluster, replicated_cluster
from support.service.running import Service, running_service
from support.service.traffic import ARGUMENTS


@pytest.fixture(scope="session")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedCluster]:
    """The cluster."""
    async with replicated_cluster(tmp_path_factory.mktemp("replicated")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def service(replicated: ReplicatedCluster) -> AsyncIterator[Service]:
    """The service; an acknowledgement means that a replica has it."""
    arguments = ("--redis", replicated.url, "--durability", "replica", *ARGUMENTS)
    async with running_service(*arguments) as running:
        yield running
        assert "process_exited" not in running.log
