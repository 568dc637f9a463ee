"""What Prometheus reads of a server: how many requests, how long they took, memory, and whether a model is loaded."""

from __future__ import annotations

from collections.abc import Callable

from imgsearch.client import protocol
from imgsearch.errors import MissingExtra

METRICS = "/metrics"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: a query by codes takes 0.02, one that the model has to embed 0.1 to 1."""


class Metrics:
    """The figures of one server, by prometheus_client."""

    def __init__(self, is_ready: Callable[[], bool], has_model: Callable[[], bool]) -> None:
        """Begin at 0; the functions are asked whenever the figures are read. Raises MissingExtra."""
        try:
            import prometheus_client  # on use: it is an extra
        except ImportError as error:
            raise MissingExtra("a server's metrics", "operations") from error
        registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        self._render: Callable[[], bytes] = lambda: prometheus_client.generate_latest(registry)
        self.content_type = prometheus_client.CONTENT_TYPE_LATEST
        self._requests = prometheus_client.Counter(
            "imgsearch_requests",
            "Requests answered",
            ("path", "status", "client"),
            registry=registry,
        )
        self._seconds = prometheus_client.Histogram(
            "imgsearch_request_seconds",
            "Seconds until a request was answered",
            ("path",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._running = prometheus_client.Gauge(
            "imgsearch_requests_in_progress", "Requests being answered", registry=registry
        )
        ready = prometheus_client.Gauge(
            "imgsearch_ready", "Whether the server wants requests", registry=registry
        )
        ready.set_function(lambda: float(is_ready()))
        loaded = prometheus_client.Gauge(
            "imgsearch_model_loaded", "Whether a model is in memory", registry=registry
        )
        loaded.set_function(lambda: float(has_model()))
        info = prometheus_client.Gauge("imgsearch_info", "The version", ("version",), registry=registry)
        info.labels(protocol.version()).set(1)

    def begin(self) -> None:
        """Count a request that has come."""
        self._running.inc()

    def end(self, path: str, status: int, client: str, seconds: float) -> None:
        """Count its answer."""
        self._running.dec()
        self._requests.labels(path, str(status), client).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        return bytes(self._render())
