"""Checks of what a service needs besides its cluster: the file store and the trace collector."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from instantaudience_server.batch.uploads.files import PART_BYTES, FileStore
from instantaudience_server.catalog.batch_settings import DEFAULTS
from instantaudience_server.diagnosis.finding import Finding, Level, problem, warning
from instantaudience_server.running import traces
from instantaudience_server.settings import Settings

FILES, TRACES = "files", "traces"
LEAST_BYTES = 2 * PART_BYTES
"""With less free space, no file can be stored."""
MORE_ROOM = "make room on its disk, or give --batch-store, or --data-dir, a folder on another one"
SHARED = "; where several machines have the same cluster, they need the same files there, or --batch-store"
"""Appended for a folder if the cluster is the operator's own, because other machines may use it, too."""


async def store_of_files(settings: Settings) -> Finding:
    """Checks that files can be stored in the folder or, for remote storage, that it can be listed. Changes nothing."""
    store = FileStore(settings.file_store_url)
    if store.folder is not None:
        finding = _folder(store.folder)
        if finding.level is Level.OK and settings.redis is not None:
            return finding._replace(text=finding.text + SHARED)
        return finding
    if why := await store.problem():
        return problem(
            FILES,
            f"{store.place} cannot be listed: {why}",
            "look at --batch-store, and at what the environment says of it and of who comes (AWS_…)",
        )
    return Finding(Level.OK, FILES, f"{store.place} can be listed")


def _folder(folder: Path) -> Finding:
    there = next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))
    if not there.is_dir():
        return problem(FILES, f"{there} is no folder", "give --batch-store, or --data-dir, another one")
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(FILES, f"this user may not write into {there}", "run this, and the service, as a user that may")
    free_bytes = shutil.disk_usage(there).free
    if free_bytes < (wanted_bytes := DEFAULTS.file_bytes):
        room = f"{there} has room for {free_bytes >> 20:,} MB, less than a file may have ({wanted_bytes >> 20:,} MB)"
        return (problem if free_bytes < LEAST_BYTES else warning)(FILES, room, MORE_ROOM)
    return Finding(Level.OK, FILES, f"{folder} can be written")


async def collector(settings: Settings) -> AsyncIterator[Finding]:
    """Checks that the collector accepts traces, if one is configured."""
    if not traces.are_wanted(settings):
        return
    if why := await asyncio.to_thread(traces.problem, settings):
        yield problem(
            TRACES,
            f"the collector takes no traces: {why}",
            "look whether it takes OTLP over HTTP (port 4318 mostly), at --traces-endpoint and at OTEL_EXPORTER_OTLP_…",
        )
    else:
        yield Finding(Level.OK, TRACES, "the collector takes traces")
