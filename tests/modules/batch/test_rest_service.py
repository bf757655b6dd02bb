"""How files are read, for REST callers; over REST: tests/service/host/test_batch.py."""

import secrets

import pytest
from instantaudience.rest.v1 import batch_pb2 as pb
from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.batch.desk import JobDesk
from instantaudience_server.batch.rest_service import BatchService
from instantaudience_server.batch.uploads.files import FileStore
from instantaudience_server.batch.uploads.uploading import Uploads
from instantaudience_server.errors import Reason
from instantaudience_server.store.jobs.job_store import ClusterJobStore
from support.clocks import FakeClock
from support.parts.accounts import refused
from support.parts.callers import caller
from support.parts.catalogs import OWN, CatalogWorker, another, worker
from support.waiting import seconds_from_now

__all__ = ["another", "worker"]
"""Fixtures that are imported."""


@pytest.fixture
async def service(
    worker: CatalogWorker, jobs: ClusterJobStore, files: FileStore, quotas: Quotas, clock: FakeClock
) -> BatchService:
    uploads = Uploads(jobs, files, worker.feed.member, clock, secrets.token_hex, lambda first, _: first, 3600)
    desk = JobDesk(jobs, files, uploads, worker.feed, quotas, clock)
    return BatchService(desk, worker.editor, worker.feed, clock, "")


async def test_the_caller_s_member_may_go_while_it_is_asked_how_its_files_are_read(
    service: BatchService, worker: CatalogWorker, another: CatalogWorker
) -> None:
    own = caller("own", worker.feed.catalog)
    found = await service.find_config(pb.FindConfigRequest(), own, seconds_from_now())
    assert found.batch_segment_config.member_id == OWN
    await another.call("DeleteUser", id=own.account.id)
    await another.call("DeleteMember", id=OWN)
    await refused(service.find_config(pb.FindConfigRequest(), own, seconds_from_now()), Reason.NOT_FOUND)
