"""Where jobs and their files are, empty for each test."""

from pathlib import Path

import pytest
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.jobs.job_store import ClusterJobStore


@pytest.fixture
def jobs(cluster: Cluster) -> ClusterJobStore:
    return ClusterJobStore(cluster)


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore((tmp_path / "files").as_uri())
