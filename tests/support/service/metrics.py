"""The metrics of a service."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from support.service.running import Service

PREFIX = "instant_audience_"


@dataclass
class Scrape:
    """The samples of one scrape; names are without their prefix."""

    samples: list[Sample]

    @classmethod
    def of(cls, families: Iterable[Metric]) -> "Scrape":
        """The samples in these metric families."""
        return cls([sample for family in families for sample in family.samples])

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0 if there are none."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        )

    def by_worker(self, name: str, **labels: str) -> dict[str, float]:
        """The sample of each worker."""
        return {
            sample.labels["worker"]: sample.value
            for sample in self.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        }

    @property
    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """All counters, by name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for sample in self.samples
            if sample.name.endswith("_total")
        }


async def scrape(service: Service, http: httpx.AsyncClient | None = None) -> Scrape:
    """Scrape a service's metrics, as Prometheus does; `http` is the client to use, if access is restricted."""
    async with contextlib.AsyncExitStack() as stack:
        client = http or await stack.enter_async_context(httpx.AsyncClient(timeout=20, verify=False, trust_env=False))
        answer = await client.get(service.metrics_url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scrape.of(text_string_to_metric_families(answer.text))
