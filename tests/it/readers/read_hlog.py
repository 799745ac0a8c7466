"""Prints what the Python package `hdrhistogram` reads from an interval log, by tag, as JSON. Values in ns.

Quantiles are read at the percentile of their nearest rank, because readers round the rank differently.
No percentile distribution: the package's ticks are closer than Java's, because it omits a floor().
Exits with 77 if the package is missing.
"""

import json
import math
import sys

try:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader
except ImportError:
    sys.exit(77)

QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p99_9_ns": 0.999}
CEILING_NS = 60_000_000_000


def read(path):
    tags = {}
    reader = HistogramLogReader(path, HdrHistogram(1, CEILING_NS, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        tag = tags.setdefault(interval.get_tag(), {"all": HdrHistogram(1, CEILING_NS, 3), "intervals": []})
        tag["all"].add(interval)
        times = [round(interval.get_start_time_stamp()), round(interval.get_end_time_stamp())]
        tag["intervals"].append(times + [interval.get_total_count()])
    return tags


def describe(tag):
    histogram, count = tag["all"], tag["all"].get_total_count()
    summary = {"count": count, "intervals_ms": tag["intervals"], "max": histogram.get_max_value() if count else 0}
    summary["mean"] = histogram.get_mean_value() if count else 0
    for name, quantile in QUANTILES.items():
        rank = math.ceil(quantile * count - 1e-9)
        summary[name] = histogram.get_value_at_percentile(100 * rank / count) if count else 0
    return summary


print(json.dumps({tag: describe(content) for tag, content in read(sys.argv[1]).items()}))
