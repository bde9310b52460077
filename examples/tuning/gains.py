#!/usr/bin/env python3
"""What tuning gains over the default plan, for ten shapes of layers, with bf16 and with fp32 weights.

    gains.py --out DIRECTORY [--catena PATH] [--budget 60] [--tokens 1,4,16,64,512] [--formats bf16,fp32]
             [SHAPE ...]

One search for each shape and format (`catena tune --table`), then gains.csv: the gain that the search's last race confirmed, with
its 95 % interval (1 where it was a tie: then the default plan stays), and what the best plan made of each race against the default
otherwise. The geometric mean is over all of them that had time for a last race or found nothing to race, ties counted as 1.
Whatever is there is not measured again.

All searches share one file of wisdom, DIRECTORY/wisdom.json: a search begins with what was found for the nearest shape before it,
so that the order of shapes matters. Python's standard library only."""

import csv
import json
import math
import pathlib
import re
import subprocess
import sys

import campaign

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent
PAPER = ["moe_8of64", "coe_2x4of64", "olmoe_1b_7b", "qwen3_30b_a3b", "deepseek_v2_lite"]
AWKWARD = ["awkward", "tuning/shapes/hidden_2880", "tuning/shapes/expert_1407", "tuning/shapes/experts_60", "tuning/shapes/small_k_6"]
VERDICTS = (re.compile(r"gain ([\d.]+)x \(([\d.]+) to ([\d.]+)\)"), re.compile(r"tie .*: ([\d.]+)x \(([\d.]+) to ([\d.]+)\)"))


def known_shapes():
    """Every description in the examples' folder, as it is named here."""
    paths = [*EXAMPLES.glob("*.json"), *EXAMPLES.glob("tuning/shapes/*.json")]
    return sorted(str(path.relative_to(EXAMPLES).with_suffix("")) for path in paths if path.name != "schema.json")


def check_options(parser, options):
    """What is wrong is said before a search begins."""
    known, formats = known_shapes(), ("bf16", "fp32")
    for shape in options.shapes:
        if shape not in known:
            parser.error(f"there is no shape '{shape}' in {EXAMPLES}; there are {', '.join(known)}")
    for weights in options.formats.split(","):
        if weights not in formats:
            parser.error(f"--formats takes {' and '.join(formats)}, not '{weights}'")
    parser.check_campaign(options)
    return options


def read_options():
    parser = campaign.Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("shapes", nargs="*", default=PAPER + AWKWARD, help="descriptions in the examples' folder, without .json")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--catena", default="catena")
    parser.add_argument("--budget", default="60")
    parser.add_argument("--tokens", default="1,4,16,64,512")
    parser.add_argument("--formats", default="bf16,fp32")
    return check_options(parser, parser.parse_args())


def described(options, shape, weights):
    """The description of a shape with weights of a format."""
    description = json.loads((EXAMPLES / f"{shape}.json").read_text(encoding="utf-8"))
    description.pop("$schema", None)
    for layer in description["layers"]:
        layer["weights"] = weights
    path = options.out / f"{pathlib.Path(shape).name}_{weights}.json"
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return path


def tune(options, description):
    """What `catena tune` says of a description; kept beside its table."""
    said, table = description.with_suffix(".txt"), description.with_suffix(".csv")
    if not (said.exists() and table.exists()):
        command = [options.catena, "tune", str(description), "--budget", options.budget, "--tokens", options.tokens, "--wisdom",
                   str(options.out / "wisdom.json"), "--table", str(table)]
        print(" ".join(command), flush=True)
        run = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if run.returncode:
            sys.exit(f"catena ended with status {run.returncode}")
        said.write_text(run.stdout, encoding="utf-8")
    return said.read_text(encoding="utf-8")


def row_of(shape, weights, text):
    row = {"shape": pathlib.Path(shape).name, "weights": weights, "verdict": "default", "gain": 1.0, "raced": "", "low": "", "high": ""}
    for verdict, pattern in zip(("gain", "tie"), VERDICTS):
        found = pattern.search(text)
        if found:
            row.update(verdict=verdict, raced=found[1], low=found[2], high=found[3])
            row["gain"] = float(found[1]) if verdict == "gain" else 1.0
            break
    if "too little time" in text or "stopped" in text:
        row["verdict"] = "undecided"
    row["decisions"] = text[text.index("{"):text.rindex("}") + 1] if row["verdict"] == "gain" else ""
    return row


def main():
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for shape in options.shapes:
        for weights in options.formats.split(","):
            rows.append(row_of(shape, weights, tune(options, described(options, shape, weights))))
            print("  {shape} {weights}: {verdict} {raced} {low} {high}".format(**rows[-1]), flush=True)
    with open(options.out / "gains.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    decided = [row["gain"] for row in rows if row["verdict"] != "undecided"]
    if decided:
        mean = math.exp(sum(math.log(gain) for gain in decided) / len(decided))
        print(f"geometric mean of {len(decided)} gains: {mean:.3f}; undecided for want of time: {len(rows) - len(decided)}")


if __name__ == "__main__":
    campaign.run(main)
