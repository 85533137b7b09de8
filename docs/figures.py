"""Write the tables of detect.md and generate.md anew from what runs have measured, and keep that as JSON beside them.

    python docs/figures.py                                          # the tables again, from the JSON files
    python docs/figures.py detect demo runs/detect_0 runs/detect_1 runs/detect_2
    python docs/figures.py generate real_clips runs/generate_0 runs/generate_1 runs/generate_2

takes the ``metrics.json`` of some run folders, seeds in rising order, into ``detect.json`` or ``generate.json``.
"""

import json
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
FIGURES = (("mse", ".5f"), ("squared_error", ".2f"), ("mae", ".4f"), ("psnr", ".2f"), ("ssim", ".3f"))


def in_a_row(values: list[float], digits: int) -> str:
    """Return figures of several seeds, rounded, with commas between them."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


def when_and_where(runs: list[dict]) -> str:
    """Say which commit was measured on what, how long it took, and how much memory that needed."""
    commits = sorted({run["commit"] for run in runs if run.get("commit")})
    commit = f"commit {', '.join(commits)}" if commits else "commit not recorded"
    text = f"minivid {runs[0]['version']}, {commit}; {runs[0]['machine']}"
    if "seconds" in runs[0]:
        memory = max(run["peak_memory_mb"] for run in runs)
        text += f"; {in_a_row([run['seconds'] for run in runs], 0)} s, {memory:.0f} MB of memory at most"
    return text + "."


# --- detection --------------------------------------------------------------------------------------------------


def detection_demo(runs: list[dict]) -> str:
    """Return the table of `minivid demo detect`: a line per kind of object."""
    run = runs[0]
    lines = {
        "**all objects**": "mAP@0.5",
        f"hidden objects ({run['hidden_objects']} of {run['objects']})": "mAP@0.5_hidden_objects",
        "visible objects": "mAP@0.5_visible_objects",
        f"frames with hidden objects ({run['frames_with_hidden']} of {run['frames']})": "mAP@0.5_frames_with_hidden",
        "all objects, mAP@0.5:0.95": "mAP@0.5:0.95",
    }
    seeds = in_a_row([run["seed"] for run in runs], 0)
    table = [f"| held-out clips, mAP@0.5, seeds {seeds} | ConvLSTM | without recurrence |", "|---|---|---|"]
    for name, key in lines.items():
        with_it = in_a_row([run[key] for run in runs], 3)
        without = in_a_row([run["without_recurrence"][key] for run in runs], 3)
        table.append(f"| {name} | {with_it} | {without} |")
    return "\n".join([*table, "", when_and_where(runs)])


def detection_real_clips(runs: list[dict]) -> str:
    """Return the table of a detector of moving regions."""
    table = ["| seed | mAP@0.5 on the 30 clips of the even recordings | mAP@0.5:0.95 |", "|---|---|---|"]
    table += [f"| {run['seed']} | {run['mAP@0.5']:.3f} | {run['mAP@0.5:0.95']:.3f} |" for run in runs]
    return "\n".join([*table, "", when_and_where(runs)])


# --- generation -------------------------------------------------------------------------------------------------


def generation(runs: list[dict]) -> str:
    """Return the table of both kinds of prediction, of the model and the baselines, a line per seed."""
    table = ["| | seed | MSE | per frame | MAE | PSNR | SSIM |", "|---|---|---|---|---|---|---|"]
    for kind, label in (("one_step", "one-step"), ("roll_out", "roll-out")):
        for name in ("model", "model_fed_back", "copy_last", "mean_frame"):
            for run in runs:
                if name in run[kind]:
                    figures = " | ".join(f"{run[kind][name][key]:{form}}" for key, form in FIGURES)
                    table.append(f"| {label}, {name.replace('_', ' ')} | {run['seed']} | {figures} |")
    gains = [
        f"{in_a_row([run[kind]['copy_last']['mse'] / run[kind]['model']['mse'] for run in runs], 2)} {where}"
        for kind, where in (("roll_out", "in roll-out"), ("one_step", "one step ahead"))
    ]
    return "\n".join(
        [*table, "", f"MSE of copy last / MSE of the model: {'; '.join(gains)}.", "", when_and_where(runs)]
    )


def in_painting(rows: dict) -> str:
    """Return the table that ``examples/in_painting.py`` prints."""
    table = ["| missing frames | MSE | SSIM |", "|---|---|---|"]
    return "\n".join([*table, *(f"| {name} | {row['mse']:.5f} | {row['ssim']:.3f} |" for name, row in rows.items())])


TABLES = {
    "detect": {"demo": detection_demo, "real_clips": detection_real_clips},
    "generate": {"demo": generation, "cnn_lstm": generation, "real_clips": generation, "in_painting": in_painting},
}


# --- pages ------------------------------------------------------------------------------------------------------


def collect(page: str, table: str, folders: list[str]) -> None:
    """Take the figures of some run folders into the JSON file of a page."""
    path = DOCS / f"{page}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[table] = [json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def with_tables(page: str) -> str:
    """Return the text of a page with its marked tables written anew."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    kept = json.loads((DOCS / f"{page}.json").read_text(encoding="utf-8"))
    for name, table in TABLES[page].items():
        begin, end = f"<!-- figures:{name} -->", "<!-- end -->"
        found = re.findall(f"{begin}.*?{end}", text, re.DOTALL)
        if len(found) != 1:
            raise ValueError(f"{page}.md must have {begin} ... {end} once, found it {len(found)} times")
        text = text.replace(found[0], f"{begin}\n{table(kept[name])}\n{end}")
    return text


def main(arguments: list[str]) -> None:
    """Take figures if folders are given, and write the tables."""
    if arguments:
        page, table, *folders = arguments
        collect(page, table, folders)
    for page in TABLES:
        text = with_tables(page)
        (DOCS / f"{page}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
