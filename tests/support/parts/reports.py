"""A worker that reports members' usage, and usage for it to report."""

import gzip
import itertools
import json
from typing import Any, NamedTuple

from google.api import httpbody_pb2
from instantaudience.v1 import usage_pb2 as pb
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.catalog.editor import CatalogEditor
from instantaudience_server.store.interfaces.usage import Addition, Lines, Tally
from instantaudience_server.store.quota_store import ClusterQuotaStore
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.usage.hours import UsageHours
from instantaudience_server.usage.service import UsageService
from instantaudience_server.usage.spans import write_hour

from support.clocks import FakeClock
from support.parts.callers import caller
from support.parts.catalogs import OWN
from support.waiting import seconds_from_now

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
TALLY = Tally(9, 1, 2, 3, 4, 5, 6, 7, 8)
LINES = Lines(["Inactive users: 5", "Inactive users: 6"], ["Valid users: 7"])


class Worker(NamedTuple):
    """The reporting part of a worker, and another worker's usage store."""

    reports: UsageService
    hours: UsageHours
    editor: CatalogEditor
    catalog: Catalog
    quota_store: ClusterQuotaStore
    elsewhere: ClusterUsageStore
    clock: FakeClock

    @property
    def hour(self) -> int:
        """The current hour."""
        return self.clock.ms // HOUR_MS

    async def count(self, hour: int, tally: Tally = TALLY, lines: Lines = LINES, member_id: int = OWN) -> None:
        """Count usage as another worker."""
        await self.elsewhere.add(Addition(member_id, hour, next(numbers), tally, lines), seconds_from_now())

    async def processed(self, username: str = "own", **request: Any) -> Any:
        """The `report` object of the contract's report."""
        message = pb.GetProcessedRequest(**request)
        answer = await self.reports.get_processed(message, caller(username, self.catalog), seconds_from_now())
        body = httpbody_pb2.HttpBody.FromString(answer.SerializeToString(deterministic=True))
        compressed = message.gzip and not message.agg
        assert body.content_type == ("application/gzip" if compressed else "application/json")
        response = json.loads(gzip.decompress(body.data) if compressed else body.data)["response"]
        assert (response.keys(), response["status"]) == ({"status", "report"}, "OK")
        return response["report"]

    async def usage(self, username: str = "own", **request: Any) -> pb.GetUsageResponse:
        """The gRPC report."""
        message = pb.GetUsageRequest(**request)
        answer = await self.reports.get_usage(message, caller(username, self.catalog), seconds_from_now())
        return pb.GetUsageResponse.FromString(answer.SerializeToString(deterministic=True))

    async def overview(self, username: str = "own", **request: Any) -> pb.GetOverviewResponse:
        message = pb.GetOverviewRequest(**request)
        return await self.reports.get_overview(message, caller(username, self.catalog), seconds_from_now())

    async def adds(self, username: str = "own", **request: Any) -> dict[str, int]:
        """Memberships added, by hour."""
        return {hour["processed_hour"]: hour["num_valid_adds"] for hour in await self.processed(username, **request)}


numbers = itertools.count(1)


def contract_hour(hour: int, tally: Tally = TALLY, lines: Lines | None = LINES) -> dict[str, Any]:
    """An hour in the contract's format."""
    users = tally.valid_users + tally.invalid_users
    return {
        "processed_hour": write_hour(hour),
        "member_id": OWN,
        "num_valid_users": tally.valid_users,
        "num_valid_adds": tally.valid_adds,
        "num_valid_removes": tally.valid_removes,
        "num_invalid_users": tally.invalid_users,
        "num_invalid_segments": tally.invalid_segments,
        "num_unauth_segments": tally.unauth_segments,
        "num_inactive_segments": tally.inactive_segments,
        "num_other_errors": tally.other_errors,
        "match_rate": round(100 * tally.valid_users / users, 1) if users else 100.0,
        "error_log_lines": None if lines is None else "\n".join(lines.errors),
        "segment_log_lines": None if lines is None else "\n".join(lines.segments),
    }
