"""Runs all checks of a deployment, in order."""

import ssl
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from instantaudience_server.diagnosis import beside, certificates, cluster, service
from instantaudience_server.diagnosis.finding import Finding, Level, problem, warning
from instantaudience_server.diagnosis.members import wishes
from instantaudience_server.embedded.data_dir import NoClusterError, cluster_url
from instantaudience_server.settings import Settings
from instantaudience_server.store.inspection.facts import ClusterOutOfReachError, inspect

_DENIED = "give the user and the password that the cluster knows: INSTANT_AUDIENCE_REDIS"
_UNUSABLE = "change the cluster's URL, INSTANT_AUDIENCE_REDIS; docs/cluster.md has its form"
_OUT_OF_REACH = "start it; compare address, port, rediss:// or redis://, and cluster mode"
_BY_TLS = "; in the URL, ssl_ca_certs says whom to trust, ssl_certfile and ssl_keyfile what to show"


async def diagnose(
    settings: Settings,
    url: str | None,
    certificate: ssl.SSLContext | None = None,
    *,
    acl_user: str | None,
    now: Callable[[], float],
) -> AsyncIterator[Finding]:
    """Check the cluster and the certificates in the settings, the file store, the trace collector and, if `url` is
    given, the service there.

    Args:
        certificate: the client certificate for a service that asks for one.
        acl_user: the cluster user of the service, if the URL has another one.
        now: the Unix time.
    """
    try:
        redis = cluster_url(settings.redis, settings.data_dir)
    except NoClusterError as error:
        yield warning(
            "cluster",
            f"not looked at: --redis names none, and {error}",
            "start the service, or set INSTANT_AUDIENCE_REDIS or --data-dir",
        )
    else:
        async for finding in _cluster(settings, redis, acl_user, now):
            yield finding
        for finding in certificates.for_the_cluster(redis, now()):
            yield finding
    for finding in certificates.in_files(settings, now()):
        yield finding
    yield await beside.store_of_files(settings)
    async for finding in beside.collector(settings):
        yield finding
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname:
            yield await certificates.shown(parts.hostname, parts.port or 443, now())
        async for finding in service.ask(url, certificate, now()):
            yield finding


async def _cluster(
    settings: Settings, redis: str, acl_user: str | None, now: Callable[[], float]
) -> AsyncIterator[Finding]:
    try:
        facts = await inspect(redis, now=now, user=acl_user)
    except ClusterOutOfReachError as error:
        mend = _OUT_OF_REACH + (_BY_TLS if redis.startswith("rediss:") else "")
        if error.denied:
            mend = _DENIED
        elif error.unusable:
            mend = _UNUSABLE
        yield problem("cluster", f"cannot be asked: {error}", mend)
        return
    if facts.nodes:
        yield Finding(Level.OK, "cluster", f"{len(facts.nodes)} nodes, {len(facts.primaries)} of them primaries")
    wanted = cluster.Wanted(settings.durability, await wishes(redis), embedded=settings.redis is None)
    for finding in cluster.judge(facts, wanted):
        yield finding
    if redis.startswith("rediss:"):
        for node in facts.nodes:
            host, _, port = node.name.rpartition(":")
            yield await certificates.shown(host, int(port), now())
