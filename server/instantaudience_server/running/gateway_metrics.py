"""Metrics of the gateway: Envoy's own statistics, read whenever the service's metrics are.

Sources: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats,
https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats and
https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import httpx
from instantaudience_gateway.envoy import admin
from instantaudience_gateway.envoy.access_log import UNANSWERED_STAT
from instantaudience_gateway.envoy.settings import CLUSTER, STAT_PREFIX
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from instantaudience_server.observation import metrics

_DOWNSTREAM = f"http.{STAT_PREFIX}.downstream_"
_STATUSES = {f"{number}xx": (f"{_DOWNSTREAM}rq_{number}xx",) for number in range(1, 6)}
_REFUSALS = {
    "connections": ("listener.downstream_global_cx_overflow",),
    "calls": tuple(f"cluster.{CLUSTER}.upstream_rq_{which}_overflow" for which in ("active", "pending")),
    "memory": (f"{_DOWNSTREAM}rq_overload_close",),
    "certificates": ("listener.ssl.fail_verify_no_cert", "listener.ssl.fail_verify_error"),
}
_CONNECTIONS, _UNREACHED = f"{_DOWNSTREAM}cx_active", f"cluster.{CLUSTER}.upstream_cx_connect_fail"
_MEMORY = "server.memory_allocated"
_LISTENER = re.compile(r"^listener\..*\.(?=downstream_global_cx_overflow$|ssl\.)")
"""The part of a listener's statistics that names its address."""
_ASKED = (_CONNECTIONS, _UNREACHED, UNANSWERED_STAT, _MEMORY, *chain(*_STATUSES.values(), *_REFUSALS.values()))
_PATTERN = "|".join(re.escape(each).replace(r"listener\.", r"listener\..*\.") for each in _ASKED)


class GatewayMetrics(Collector):
    """Collects the metrics of Envoys, by label and admin socket. Counters start again when an Envoy is restarted."""

    def __init__(self, admin_sockets: Mapping[str, Path]) -> None:
        self._admin_sockets = admin_sockets

    def collect(self) -> Iterable[Metric]:
        """Read all Envoys; those that do not answer are left out. To be called in a thread without an event loop."""
        connections = GaugeMetricFamily(*metrics.GATEWAY_CONNECTIONS, labels=["gateway"])
        memory = GaugeMetricFamily(*metrics.GATEWAY_MEMORY, labels=["gateway"])
        answers = CounterMetricFamily(*metrics.GATEWAY_ANSWERS, labels=["gateway", "status"])
        refusals = CounterMetricFamily(*metrics.GATEWAY_REFUSALS, labels=["gateway", "reason"])
        unreached = CounterMetricFamily(*metrics.GATEWAY_CONNECTION_FAILURES, labels=["gateway"])
        unanswered = CounterMetricFamily(*metrics.GATEWAY_UNANSWERED_CALLS, labels=["gateway"])
        for label, admin_socket in self._admin_sockets.items():
            with contextlib.suppress(httpx.HTTPError, ValueError):
                found, name = _statistics(admin_socket), [label]
                connections.add_metric(name, found[_CONNECTIONS])
                memory.add_metric(name, found[_MEMORY])
                unreached.add_metric(name, found[_UNREACHED])
                unanswered.add_metric(name, found[UNANSWERED_STAT])
                for family, statistics in ((answers, _STATUSES), (refusals, _REFUSALS)):
                    for which, names in statistics.items():
                        family.add_metric([*name, which], sum(found[each] for each in names))
        return connections, memory, answers, refusals, unreached, unanswered


def _statistics(admin_socket: Path) -> Mapping[str, int]:
    """An Envoy's statistics; 0 for those that it does not have yet.

    Raises:
        httpx.HTTPError, ValueError: it does not answer as expected.
    """
    found: Counter[str] = Counter()
    for name, value in asyncio.run(admin.statistics(admin_socket, _PATTERN)).items():
        found[_LISTENER.sub("listener.", name)] += value
    return found
