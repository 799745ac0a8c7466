#!/usr/bin/env python3
"""Writes the README.md of a folder that bench/suite has filled.

    bench/summary.py FOLDER          from `commands`, `machine`, and a .json and .md for each cell
    bench/summary.py --environment   reads a comparison from stdin, and prints where it ran, a line for each fact

A comparison holds ratios to its first server only. Those between others are computed here from the same blocks, by the
same method (src/report/comparison.rs, src/stats/signed_rank.rs). That it is the same is not taken on trust: each time,
all medians and ratios in the JSON are computed again, and a difference in the last bit ends this with exit code 1.
Nothing but the standard library, whose log and exp are those that the binary uses: the C library's.
"""

import json
import math
import sys
from pathlib import Path

ALPHA = 0.025  # On each side of an interval: together 95 %.
METRICS = ["completed_per_s", "p50_ns", "p90_ns", "p99_ns", "cpu_ns_per_message", "resident_bytes_per_connection"]
OURS = "uring"


# --- The method, once more ------------------------------------------------------------------------------------------


def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2 if values else None


def rank(n):
    """Which Walsh average from either end is an end of the interval; 0 for none. See signed_rank::rank."""
    chances = [1.0] + [0.0] * (n * (n + 1) // 2)
    for worth in range(1, n + 1):
        chances = [(chances[t] + (chances[t - worth] if t >= worth else 0.0)) / 2 for t in range(len(chances))]
    found, below = 0, 0.0
    for chance in chances:
        below += chance
        if below > ALPHA:
            break
        found += 1
    return found


def log_ratio(ours, theirs, metric):
    """Of one restart: the median over its blocks. None where one has no figure, or none above zero."""
    logs = []
    for our, their in zip(ours, theirs):
        our, their = our[metric], their[metric]
        if our is None or not their or our / their <= 0:
            return None
        logs.append(math.log(our / their))
    return median(logs)


def ratio(ours, theirs, metric):
    """As in the JSON; None where a restart has none. Restarts that only one of the two has are left out."""
    logs = [log_ratio(*pair, metric) for pair in zip(ours["restarts"], theirs["restarts"])]
    if not logs or None in logs:
        return None
    n = len(logs)
    averages = sorted((logs[i] + logs[k]) / 2 for i in range(n) for k in range(i, n))
    end = rank(n)
    interval = {"low": math.exp(averages[end - 1]), "high": math.exp(averages[-end])} if end else None
    return {"restarts": n, "estimate": math.exp(median(averages)), "interval": interval}


def over_restarts(standing, figure):
    """The median over restarts of the medians over blocks; None where a block has none."""
    bouts = [[figure(block) for block in blocks] for blocks in standing["restarts"]]
    if any(value is None for blocks in bouts for value in blocks):
        return None
    return median([median(blocks) for blocks in bouts])


def check(name, standings):
    """The JSON says what its blocks say, to the last bit."""
    for index, standing in enumerate(standings):
        for metric in METRICS:
            middle = over_restarts(standing, lambda block: block[metric])
            again = None
            if middle is not None:
                again = {"median": middle, "ratio": ratio(standing, standings[0], metric) if index else None}
            if again != standing[metric]:
                sys.exit(
                    f"bench/summary.py: {name}: {standing['name']}: {metric} is {standing[metric]} in the JSON, and "
                    f"its blocks make it {again}. The two have parted: no summary is written"
                )


# --- As tables ------------------------------------------------------------------------------------------------------


def short(figure):
    """Three digits that count."""
    return f"{figure:.{3 if figure < 1 else 2 if figure < 10 else 1 if figure < 100 else 0}f}"


def is_resolved(ratio):
    return ratio["interval"] is not None and not ratio["interval"]["low"] <= 1 <= ratio["interval"]["high"]


def show(ratio):
    if ratio is None:
        return "n/a"
    if ratio["interval"] is None:
        return short(ratio["estimate"]) + " ?"
    return ("" if is_resolved(ratio) else "=") + short(ratio["estimate"])


def show_whole(ratio):
    interval = ratio and ratio["interval"]
    return show(ratio) + (f" ({short(interval['low'])}-{short(interval['high'])})" if interval else "")


def first(standings):
    """Who had the highest throughput, and whom this run cannot tell from it."""
    base = standings[0]
    scores = {}
    for standing in standings:
        of = ratio(standing, base, "completed_per_s")
        if not standing["failure"] and of:
            scores[standing["name"]] = of["estimate"]
    if not scores or base["failure"]:
        return "n/a"
    best = max(scores, key=scores.get)
    by_name = {standing["name"]: standing for standing in standings}
    to = {name: ratio(by_name[best], by_name[name], "completed_per_s") for name in scores if name != best}
    if any(of["interval"] is None for of in to.values()):
        return f"{best} ?"
    level = [name for name in to if not is_resolved(to[name])]
    return f"**{best}**" if not level else "tie: " + ", ".join([best, *level])


def table(cells, names, figure, last=None):
    """A row for each server, a column for each cell. `figure` makes text of a cell's standings and one of them."""
    lines = ["| | " + " | ".join(cells) + " |", "|---|" + "---|" * len(cells)]
    for name in names:
        row = []
        for standings in cells.values():
            standing = next((each for each in standings or [] if each["name"] == name), None)
            if standing is None:
                row.append("-")
            else:
                row.append("FAILED" if standing["failure"] else figure(standings, standing))
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    if last:
        row = [last(standings) if standings else "-" for standings in cells.values()]
        lines.append("| first | " + " | ".join(row) + " |")
    return "\n".join(lines)


def to_first(metric):
    def figure(standings, standing):
        return "1" if standing is standings[0] else show(ratio(standing, standings[0], metric))

    return figure


def to_ours(metric, show=show):
    def figure(standings, standing):
        ours = next(each for each in standings if each["name"] == OURS)
        return "FAILED" if ours["failure"] or standing["failure"] else show(ratio(ours, standing, metric))

    return figure


def pairs(standings):
    """The ratios of ours to each of the others in one cell, with their intervals."""
    names = [standing["name"] for standing in standings if standing["name"] != OURS]
    if len(names) == len(standings):
        return ""
    lines = [f"| {OURS} to | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for head, metric in [("messages/s", "completed_per_s"), ("CPU/message", "cpu_ns_per_message")]:
        figure = to_ours(metric, show_whole)
        row = [figure(standings, standing) for standing in standings if standing["name"] != OURS]
        lines.append(f"| {head} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def busy(_, standing):
    def share(block):
        cpu = block["cpu_ns_per_message"]
        return None if cpu is None else block["completed_per_s"] * cpu / 1e9

    middle = over_restarts(standing, share)
    return "n/a" if middle is None else f"{middle * 100:.0f} %"


# --- The folder -----------------------------------------------------------------------------------------------------


def summary(folder):
    commands = (folder / "commands").read_text().splitlines()
    planned = [line.split("\t")[0] for line in commands if "\t" in line]
    cells, details, legend = {}, [], ""
    for name in planned:
        cells[name] = None
        file = folder / f"{name}.json"
        comparison = json.loads(file.read_text()) if file.exists() else {"partial": True}
        if comparison["partial"]:
            details.append(f"### {name}\n\n{'Interrupted' if file.exists() else 'Not measured'}.")
            continue
        [cell] = comparison["scenarios"]
        cells[name] = cell["servers"]
        check(name, cell["servers"])
        tables, _, legend = file.with_suffix(".md").read_text().strip().rpartition("\n\n")
        details.append(f"### {name}\n\n{tables}\n\n{pairs(cell['servers'])}".strip())
    measured = [standings for standings in cells.values() if standings]
    names = list(dict.fromkeys(standing["name"] for standings in measured for standing in standings))
    base = names[0] if names else "the first"
    others = [name for name in names if name != OURS]
    missing = "" if len(measured) == len(cells) else f"**{len(cells) - len(measured)} of {len(cells)} cells are missing.**"
    parts = [
        f"# {len(measured)} cells, {len(names)} servers: {', '.join(names)}",
        "Written by `bench/summary.py`; [how to read it](../../README.md#reading-a-run). One run on one machine: "
        "a ratio holds for what `machine` says, and nothing else.",
        missing,
        f"`=`: not resolved, the 95 % interval contains 1. `?`: fewer than 6 restarts, no interval. All intervals stand in the "
        "tables of the cells, further down.",
        f"## Throughput, ratio to {base}",
        table(cells, names, to_first("completed_per_s"), first),
        "First: the highest ratio. Tie: its ratio to those named after it, computed from the same blocks, is not resolved.",
        f"## CPU time of the server for each message, ratio to {base}",
        table(cells, names, to_first("cpu_ns_per_message")),
        "Less is better.",
    ]
    if OURS in names:
        parts += [
            f"## Throughput, ratio of {OURS} to each",
            table(cells, others, to_ours("completed_per_s")),
            f"## CPU time of the server for each message, ratio of {OURS} to each",
            table(cells, others, to_ours("cpu_ns_per_message")),
            "Less is better.",
        ]
    parts += [
        "## How busy the server's CPU was",
        table(cells, names, busy),
        "Messages a second times CPU time for each. Far below 100 %: the generator, or waiting for each other, was the "
        "limit, and throughput says little about the server; CPU for each message still does.",
        "## Machine and builds",
        "```text\n" + (folder / "machine").read_text() + "```",
        "## Cells",
        *details,
        legend,
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def environment(comparison):
    for key, value in comparison["environment"].items():
        print(f"{key}: {json.dumps(value).strip(chr(34))}")
    for standing in comparison["scenarios"][0]["servers"]:
        if standing["failure"]:
            print(f"bench/suite: {standing['name']} FAILED: {standing['failure']}", file=sys.stderr)


def main(arguments):
    if arguments == ["--environment"]:
        environment(json.load(sys.stdin))
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        folder = Path(arguments[0])
        text = summary(folder)
        new = folder / "README.md.new"
        new.write_text(text)
        new.rename(folder / "README.md")  # Whole, or not at all.
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
