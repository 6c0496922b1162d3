"""What the server counts, in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30)
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
CONTENT_TYPE = CONTENT_TYPE_LATEST


class ServerMetrics:
    """Requests by route and status with their seconds, predicted posts by label, sizes of batches, posts in work."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "msa_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "msa_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.predictions = Counter("msa_predictions", "Predicted posts.", ["label"], registry=self.registry)
        self.batch = Histogram(
            "msa_batch_posts", "Posts predicted together.", buckets=BATCH_SIZES, registry=self.registry
        )
        self.admitted = Gauge("msa_posts_in_work", "Posts not answered yet.", registry=self.registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests.labels(method if method in METHODS else "other", route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All counters in the format of Prometheus."""
        return generate_latest(self.registry)
