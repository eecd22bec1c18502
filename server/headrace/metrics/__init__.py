"""Every metric of the server: plain counters that cost little to raise, collected when scraped."""

from headrace.metrics.histogram import BATCH_SIZE_BOUNDS, LATENCY_BOUNDS_NS, Histogram

__all__ = ["BATCH_SIZE_BOUNDS", "LATENCY_BOUNDS_NS", "Histogram"]
