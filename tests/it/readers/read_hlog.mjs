// Prints what the npm package `hdr-histogram-js` reads from an interval log, by tag, as JSON. Values in ns.
//
// Quantiles are read at the percentile of their nearest rank, because readers round the rank differently.
// The package is found by NODE_PATH. Exits with 77 if it is missing.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// An import statement ignores NODE_PATH.
const require = createRequire(import.meta.url);
let hdr;
try {
  hdr = require("hdr-histogram-js");
} catch {
  process.exit(77);
}

const QUANTILES = { p50_ns: 0.5, p90_ns: 0.9, p99_ns: 0.99, p99_9_ns: 0.999 };
const CEILING_NS = 60_000_000_000;
// Counters of 32 bits, the default, would overflow.
const BITS = 64;

function read(path) {
  const tags = {};
  const reader = new hdr.HistogramLogReader(readFileSync(path, "utf8"), BITS);
  for (let interval; (interval = reader.nextIntervalHistogram()) !== null; ) {
    tags[interval.tag] ??= {
      all: hdr.build({ bitBucketSize: BITS, highestTrackableValue: CEILING_NS, numberOfSignificantValueDigits: 3 }),
      intervals: [],
    };
    tags[interval.tag].all.add(interval);
    const times = [interval.startTimeStampMsec, interval.endTimeStampMsec].map(Math.round);
    tags[interval.tag].intervals.push([...times, interval.totalCount]);
  }
  return tags;
}

function describe({ all, intervals }) {
  const count = all.totalCount;
  const summary = { count, intervals_ms: intervals, max: all.maxValue, mean: all.mean };
  for (const [name, quantile] of Object.entries(QUANTILES)) {
    const rank = Math.ceil(quantile * count - 1e-9);
    summary[name] = count ? all.getValueAtPercentile((100 * rank) / count) : 0;
  }
  const rows = all.outputPercentileDistribution(5, 1).split("\n").slice(2).filter((row) => row && row[0] !== "#");
  summary.rows = rows.map((row) => row.trim().split(/ +/).slice(0, 3).map(Number));
  return summary;
}

const tags = Object.entries(read(process.argv[2]));
process.stdout.write(JSON.stringify(Object.fromEntries(tags.map(([tag, content]) => [tag, describe(content)]))));
