#!/usr/bin/env python3
"""How far from the best the plan is that a search would have kept after 1, 3, 10, 30 and 60 seconds.

    regret.py DESCRIPTION --layer NAME --out DIRECTORY [--catena PATH] [--budget 60] [--seeds 1,2,3] [--tokens 1,16,512] ...

For each method (race; random points; the cost model's first choice) and seed one search runs from nothing
(`catena tune --wisdom none --table`). Its table says which plan was the incumbent at which time; seconds count from when memory
was filled with weights and the default plan could run, which every search needs and which takes 2 to 4 s of its budget. Then all
different incumbents, and the best plans of an exhaustive table if there is one (--also), are measured together: `catena tune
--candidates` times each in full against the default, in interleaved rounds of one run. Regret is a plan's time over that of the
best of them, minus 1.

A search keeps a plan only after a last race against the default, whose time is not counted here.

Whatever is there is not measured again: an interrupted campaign goes on where it was. Delete DIRECTORY to begin anew.
Writes regret.csv and regret.svg. Python's standard library only."""

import argparse
import csv
import json
import math
import pathlib
import statistics
import subprocess
import sys

import campaign

METHODS = {"race": "search", "random": "random points", "model": "cost model's first choice"}
COLOURS = {"race": "#1f5fbf", "random": "#b4531c", "model": "#3c7d3c"}
CANDIDATES = 48  # that catena compares at once
PREPARATION = 6  # seconds beside a search's budget, at most: starting, filling memory, ending


def list_of(convert, words):
    """Reads an option's list, "1,2,3"."""

    def read(text):
        try:
            return [convert(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"takes {words} with commas between, not '{text}'") from None

    return read


def layers_of(parser, path):
    """Names of a description's layers."""
    try:
        description = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return [layer["name"] for layer in description["layers"]]
    except OSError as problem:
        return parser.error(f"{path}: {problem.strerror}, expected a description (examples/*.json)")
    except (ValueError, KeyError, TypeError):
        return parser.error(f"{path}: no description, expected JSON with \"layers\" that have names")


def check_options(parser, options):
    """What is wrong is said before a search begins."""
    options.times.sort()
    layers = layers_of(parser, options.description)
    if options.layer not in layers:
        parser.error(f"{options.description}: there is no layer '{options.layer}'; there are {', '.join(layers)}")
    if not (options.times[0] > 0 and options.times[-1] <= options.budget):
        parser.error(f"--times lie above 0 and within the budget, {options.budget:g} s; found {options.times[0]:g} to "
                     f"{options.times[-1]:g}")
    if options.also and not options.also.is_file():
        parser.error(f"--also: there is no file '{options.also}', expected a table of `catena tune --effort exhaustive --table`")
    if options.also and "kind" not in options.also.open(encoding="utf-8", errors="replace").readline().split(","):
        parser.error(f"--also: '{options.also}' is no table of `catena tune --effort exhaustive --table`")
    parser.check_campaign(options)
    return options


def read_options():
    parser = campaign.Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("description")
    parser.add_argument("--layer", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--catena", default="catena")
    parser.add_argument("--budget", type=float, default=60, help="seconds of a search after memory was filled")
    parser.add_argument("--measure", type=float, default=600, help="seconds at most of the comparison in the end")
    parser.add_argument("--seeds", default="1,2,3", type=list_of(int, "whole numbers"))
    parser.add_argument("--times", default="1,3,10,30,60", type=list_of(float, "seconds"), help="seconds at which a search is looked at")
    parser.add_argument("--also", type=pathlib.Path, help="table of `catena tune --effort exhaustive`: its best plans take part")
    parser.add_argument("--tokens", help="handed on to catena, as the next ones")
    parser.add_argument("--start", choices=("default", "worst"), help="where searches begin")
    parser.add_argument("--threads")
    parser.add_argument("--compute")
    parser.add_argument("--routing")
    return check_options(parser, parser.parse_args())


def run_tune(options, table, *arguments):
    """Runs `catena tune` unless its table is there. A search that was interrupted writes one too, but under the other name."""
    if table.exists():
        return
    part = table.with_suffix(".part.csv")
    command = [options.catena, "tune", options.description, "--layer", options.layer, "--wisdom", "none", "--table", str(part)]
    for name in ("tokens", "threads", "compute", "routing"):
        if getattr(options, name):
            command += ["--" + name, getattr(options, name)]
    command += [str(argument) for argument in arguments]
    print(" ".join(command), flush=True)
    status = subprocess.run(command, check=False).returncode
    if status or not part.exists():
        sys.exit(f"{options.catena} ended with status {status}")
    part.rename(table)


def read_rows(path, kind):
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"] == kind]


def canonical(text):
    return json.dumps(json.loads(text), sort_keys=True)


def search_all(options, seeds):
    """The table of every search."""
    tables = {}
    for seed in seeds:  # methods take turns, so that a machine that changes is fair to them
        for method in METHODS:
            table = options.out / f"{method}-{seed}.csv"
            start = ["--start", options.start] if options.start else []
            run_tune(options, table, "--method", method, "--seed", seed, "--budget", options.budget + PREPARATION, *start)
            tables[method, seed] = table
    return tables


def plan_at(steps, seconds):
    """Decisions of the incumbent at a time; the first is what the search began with."""
    plan = canonical(steps[0]["decisions"]) if steps else "{}"
    for step in steps:
        if float(step["seconds"]) <= seconds:
            plan = canonical(step["decisions"])
    return plan


def best_plans(table, count):
    """The fastest plans of an exhaustive table."""
    rows = [row for row in read_rows(table, "plan") if row["tokens"] == "all" and row["difference"]]
    return [canonical(row["decisions"]) for row in sorted(rows, key=lambda row: float(row["difference"]))[:count]]


def compare(options, plans):
    """Each plan's difference to the default (of logarithms) with its error, measured together."""
    listed = sorted(plan for plan in plans if plan != "{}")
    if len(listed) > CANDIDATES:
        sys.exit(f"{len(listed)} different plans: catena compares {CANDIDATES}; ask for fewer times or seeds")
    found = {"{}": (0.0, 0.0)}
    if not listed:
        return found
    candidates, table = options.out / "candidates.json", options.out / "compared.csv"
    text = "[\n" + ",\n".join(listed) + "\n]\n"
    if not candidates.exists() or candidates.read_text(encoding="utf-8") != text:
        table.unlink(missing_ok=True)  # it is of other plans
        candidates.write_text(text, encoding="utf-8")
    run_tune(options, table, "--candidates", candidates, "--budget", options.measure)
    for row in read_rows(table, "plan"):
        if row["tokens"] == "all" and row["difference"]:
            found[canonical(row["decisions"])] = (float(row["difference"]), float(row["error"]))
    missing = [plan for plan in listed if plan not in found]
    if missing:
        table.unlink()
        sys.exit(f"{len(missing)} plans were not timed: give --measure more seconds")
    return found


def list_regrets(incumbents, found):
    best_plan, (best, best_error) = min(found.items(), key=lambda item: item[1][0])
    rows = []
    for (method, seed, seconds), plan in incumbents.items():
        difference, error = found[plan]
        doubt = 0.0 if plan == best_plan else math.hypot(error, best_error)
        rows.append({"method": method, "seed": seed, "seconds": seconds, "regret_percent": 100 * math.expm1(difference - best),
                     "error_percent": 100 * doubt, "gain_over_default": math.exp(-difference), "decisions": plan})
    return rows


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()})


def write_svg(path, title, times, rows):
    """Median over seeds with every seed's value, seconds on a logarithmic axis."""
    width, height, left, right, top, bottom = 760, 420, 64, 190, 48, 56
    most = max(5.0, max(row["regret_percent"] for row in rows) * 1.08)
    span = math.log(times[-1] / times[0]) or 1.0

    def x_of(seconds):
        return left + (width - left - right) * math.log(seconds / times[0]) / span

    def y_of(regret):
        return top + (height - top - bottom) * (1 - regret / most)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" '
           f'font-size="13" fill="#1d1f24"><rect width="{width}" height="{height}" fill="#fff"/>',
           f'<text x="{left}" y="26" font-size="16" font-weight="600">{title}</text>']
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000, 10000) if most / s <= 8 or s == 10000)
    for i in range(int(most / step) + 1):
        y = y_of(i * step)
        out.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#dde"/>'
                   f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{i * step} %</text>')
    y = y_of(3)
    out.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#778" stroke-dasharray="5 4"/>'
               f'<text x="{width - right - 4}" y="{y - 5:.1f}" text-anchor="end" fill="#556">3 %</text>')
    for seconds in times:
        out.append(f'<text x="{x_of(seconds):.1f}" y="{height - bottom + 20}" text-anchor="middle">{seconds:g}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 14}" text-anchor="middle">seconds after preparation</text>'
               f'<text transform="translate(16 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">'
               'slower than the best plan known</text>')
    labels = []
    for method, label in METHODS.items():
        own = {s: [row["regret_percent"] for row in rows if row["method"] == method and row["seconds"] == s] for s in times}
        medians = [statistics.median(own[s]) for s in times]
        points = " ".join(f"{x_of(s):.1f},{y_of(m):.1f}" for s, m in zip(times, medians))
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[method]}" stroke-width="2.2"/>')
        out += [f'<circle cx="{x_of(s):.1f}" cy="{y_of(v):.1f}" r="3" fill="{COLOURS[method]}" fill-opacity="0.45"/>'
                for s in times for v in own[s]]
        labels.append([y_of(medians[-1]) + 4, label, COLOURS[method]])
    labels.sort()
    for i, (y, label, colour) in enumerate(labels):  # none on top of another
        y = max(y, labels[i - 1][0] + 16) if i else y
        labels[i][0] = y
        out.append(f'<text x="{width - right + 8}" y="{y:.1f}" fill="{colour}">{label}</text>')
    path.write_text("\n".join(out) + "\n</svg>\n", encoding="utf-8")


def main():
    options = read_options()
    seeds, times = options.seeds, options.times
    longest = len(METHODS) * len(seeds) * (options.budget + 2 * PREPARATION) + options.measure + PREPARATION
    print(f"{len(METHODS) * len(seeds)} searches and a comparison: {longest / 60:.0f} minutes at most", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    tables = search_all(options, seeds)
    incumbents = {}
    for (method, seed), table in tables.items():
        steps = read_rows(table, "incumbent")
        for seconds in times:
            incumbents[method, seed, seconds] = plan_at(steps, seconds)
    plans = set(incumbents.values()) | set(best_plans(options.also, 3) if options.also else [])
    rows = list_regrets(incumbents, compare(options, plans))
    write_csv(options.out / "regret.csv", rows)
    write_svg(options.out / "regret.svg", f"{pathlib.Path(options.description).stem}, layer {options.layer}", times, rows)
    print(options.out / "regret.csv")
    print(options.out / "regret.svg")


if __name__ == "__main__":
    campaign.run(main)
