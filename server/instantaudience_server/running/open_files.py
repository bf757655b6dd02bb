"""How many files, connections among them, a process may have open: as many as it is let, and no connection beyond.

Whoever has none left takes no connection: its callers would hang, and nothing would tell why.
"""

import resource

import structlog

from instantaudience_server.processes import StartError
from instantaudience_server.settings import Settings
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

MOST_OTHERS = 512
"""What a process has open beside connections of callers: to nodes and workers, of uploads, files."""
LEAST = 64
"""With fewer, nothing serves: an embedded node keeps 32 for itself."""


def make_room(settings: Settings) -> Settings:
    """Raise the limit for us and all that we start, and bound connections by it where it cannot be high enough.

    Raises:
        StartError: it is too low for any.
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
