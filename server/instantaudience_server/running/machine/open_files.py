"""Makes the limit on open files (RLIMIT_NOFILE) and the limit on connections fit together.

A process without free file descriptors accepts no connections: its callers would hang without a reason.
"""

import resource

import structlog

from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.processes import StartError
from instantaudience_server.settings import Settings

log = structlog.get_logger()

MOST_OTHERS = 512
"""How many descriptors a process needs besides callers' connections: to nodes and workers, for uploads and files."""
LEAST = 64
"""The lowest limit with which the service starts: an embedded node alone reserves 32."""


def make_room(settings: Settings) -> Settings:
    """Raise the limit of this process and its children to what the settings need. Where it cannot be raised that far,
    return settings with fewer `max_connections`.

    Raises:
        StartError: the limit is too low to serve at all.
    """
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connections + MOST_OTHERS
    if 0 <= limit < needed:
        limit = needed if highest < 0 else min(needed, highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, highest))
    if not 0 <= limit < needed:
        return settings
    if limit < LEAST:
        raise StartError(
            f"a process may have {limit} files open, too few to serve: let it have {needed} (`ulimit -n`, LimitNOFILE)"
        )
    fitting = max(limit - MOST_OTHERS, limit // 4)
    log.warning(Event.FEW_OPEN_FILES, limit=limit, needed=needed, max_connections=fitting)
    return settings.model_copy(update={"max_connections": fitting})
