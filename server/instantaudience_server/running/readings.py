"""What workers of all kinds measure of themselves: their build, and the gauges that are sampled."""

from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import Gauge

from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.observation import metrics
from instantaudience_server.store.cluster.cluster import Cluster


def readings_of(catalog: Catalog, cluster: Cluster) -> dict[Gauge, Callable[[], float]]:
    """The gauges that are sampled, each with the function that reads its value."""
    objects = {
        "member": lambda: len(catalog.members),
        "user": lambda: len(catalog.accounts),
        "segment": catalog.count_segments,
    }
    readings: dict[Gauge, Callable[[], float]] = {
        metrics.CATALOG_OBJECTS.labels(metrics.WORKER, kind): count for kind, count in objects.items()
    }
    readings[metrics.STORE_PENDING_BYTES] = lambda: cluster.pending_bytes
    return readings


def note_build(host: str) -> None:
    """Set the metric with the version and the host."""
    metrics.BUILD_INFO.labels(metrics.WORKER, version("instant-audience"), host).set(1)
