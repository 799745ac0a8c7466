"""Prints what the Python package `hdrhistogram` reads in an interval log, for each tag, as JSON. Values in ns.

Shares are asked for as the percentile of their nearest rank, because readers round the rank differently.
No percentile distribution: the package's ticks are closer than those of Java, whose floor() it left out.
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

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}
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
    facts = {"count": count, "intervals_ms": tag["intervals"], "max": histogram.get_max_value() if count else 0}
    facts["mean"] = histogram.get_mean_value() if count else 0
    for name, share in SHARES.items():
        rank = math.ceil(share * count - 1e-9)
        facts[name] = histogram.get_value_at_percentile(100 * rank / count) if count else 0
    return facts


print(json.dumps({tag: describe(found) for tag, found in read(sys.argv[1]).items()}))
