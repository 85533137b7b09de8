"""What is shown of a benchmark: figures, verdicts, tables, pages and pictures."""

import copy
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from minivid.bench import pictures, report
from minivid.bench.cases import Group, groups, maxpool2d
from minivid.runs import read_json, write_json
from tests.bench.records import MACHINE, a_gpu_record, a_record

ROOT = Path(__file__).resolve().parents[2]


def test_figures_of_a_row():
    conv, pool, neighbours = a_record()["groups"]
    [row] = conv["rows"]
    # y 10·10·10 elements of 2·3·3 products: 36 000 operations in 2 µs; at 200 GFLOP/s they take 0.18 µs.
    # x 288, w 180, b 10, y 1000 elements: 5912 bytes at 20 GB/s take 0.2956 µs, which is 14.78 % of 2 µs.
    assert (row["gflops"], row["ratio"], row["binds"], row["share"]) == (18, 2, "memory", 0.1478)
    assert (row["kept_ms"], row["kept_ratio"]) == (0.003, 1.5)  # PyTorch with memory kept: 3 µs
    [row] = pool["rows"]
    # x 400, y 100 elements and 100 bytes of places: 2100 bytes in 1 µs, 10.5 % of 20 GB/s
    assert (row["gbytes"], row["ratio"], row["share"]) == (2.1, 0.5, 0.105)
    # 11·11 positions for 10·10, in twice the time: 60.5 % of the efficiency
    assert neighbours["rows"][1]["efficiency"] == pytest.approx(0.605, abs=1e-3)


def test_verdicts():
    conv, pool, neighbours = a_record()["groups"]
    assert report.verdict_of(conv) == "2.00 times as fast as PyTorch; target 1.5: met"
    assert report.verdict_of(pool) == "0.50 times as fast as PyTorch; target 5.0: missed"
    assert "goal 75%: missed" in report.verdict_of(neighbours)


def test_a_high_mean_does_not_make_up_for_a_slow_case():
    cases = [maxpool2d(1, 4, 10, 2, 2), maxpool2d(1, 4, 12, 2, 2)]
    times = [[(1.0, ""), (0.9, "")], [(1.0, ""), (10.0, "")]]  # 0.9 and 10 times as fast
    judged = report.group_record(Group("x", "X", 1.5, cases), times, MACHINE)
    assert (judged["mean"], judged["worst_case"], judged["met"]) == (3, cases[0].name, False)  # √(0.9 · 10) = 3


def test_ladder():
    [ladder] = a_record()["ladders"]
    reference, tiled = ladder["rungs"]
    # 36 000 operations in 1 ms on the smaller batch, 72 000 in 2 µs on the whole one; of 200 GFLOP/s
    assert (reference["gflops"], reference["share_of_peak"]) == (0.036, 0.00018)
    assert (tiled["gflops"], tiled["share_of_peak"]) == (36, 0.18)
    assert reference["case"] == ladder["reference_case"] != ladder["case"] == tiled["case"]


def test_shortfalls_name_what_binds():
    lines = report.shortfalls(a_record())
    assert any(line.startswith("Pool: 0.50 times") for line in lines)
    assert any("1 of 1 cases below 80% of their ceiling, which is the copy bandwidth: 10%" in line for line in lines)


def test_a_busy_machine_is_no_place_for_a_benchmark(capsys):
    record = a_record() | {"busy_cores": 0.8}
    assert report.verdict_of(record["groups"][0] | {"met": None}).endswith("target 1.5: not judged")
    report.print_report(record)
    assert "Other programs kept 0.80 cores busy" in capsys.readouterr().out
    assert "Other programs kept 0.80 cores busy" in report.markdown_blocks(record)["machine"]
    assert report.doubts(a_record()) == []
    assert report.doubts(a_record() | {"busy_cores": None, "quick": True}) == [
        "A quick run: few rounds and a part of the shapes."
    ]


def test_memory():
    memory = a_record()["memory"]
    assert memory["met"]
    assert memory["growth_mb"] == 1.5
    assert memory["sides"]["PyTorch"]["increase_mb"] == 250
    assert report.memory_lines(memory) == [
        "minivid's peak is 300 MB, no more than PyTorch: met",
        "minivid occupies 250 MB after 20 steps and 252 MB after 220",
    ]


def test_memory_where_the_system_does_not_tell_what_is_occupied():
    memory = report.memory_record({"minivid": {"baseline_mb": 1.0, "peak_mb": 2.0}}, 5, [20, 220], [None, None])
    assert report.memory_lines(memory) == []


def test_json_round_trip(tmp_path):
    record = a_record()
    write_json(tmp_path / "bench.json", record)
    assert read_json(tmp_path / "bench.json") == record
    assert report.markdown_blocks(read_json(tmp_path / "bench.json")) == report.markdown_blocks(record)


def test_terminal(capsys):
    report.print_report(a_record())
    out = capsys.readouterr().out
    for words in [
        "multiply-add peak 200 GFLOP/s, copy bandwidth 20.0 GB/s",
        "take turns: 9 rounds",
        "1×12×12×2 → 10, 3×3 valid",
        "2.00 times as fast as PyTorch; target 1.5: met",
        "Ladder of conv2d",
        "reference (smaller batch)",
        "minivid's peak is 300 MB",
        "Summary",
    ]:
        assert words in out
    assert "\x1b" not in out


def test_without_the_peer(capsys):
    record = a_record(with_peer=False)
    report.print_report(record)
    out = capsys.readouterr().out
    assert "PyTorch is not installed" in out
    assert "pip install torch" in out
    assert "ratio" not in out
    assert "target" not in out
    assert record["groups"][0]["met"] is None
    assert all(report.markdown_blocks(record).values())


def test_markdown_table():
    assert report.markdown_blocks(a_record())["maxpool"] == (
        "| case | minivid ms | PyTorch ms | ratio | kept ms | ratio | GB/s | of ceiling | ceiling |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 1×10×10×4, 2×2 | 0.001 | 0.0005 | 0.50 | 0.00025 | 0.25 | 2.1 | 10% | memory |\n\n"
        "0.50 times as fast as PyTorch; target 5.0: missed."
    )


def test_summary_shows_what_kept_memory_gives_without_judging_by_it():
    record = a_record()
    record["groups"].insert(0, record["groups"][0])
    assert report.summary_table(record)[:2] == [
        ["group", "geometric mean", "worst", "target", "", "kept", "of ceiling"],
        ["Convolution", "2.00", "2.00", "1.5", "met", "1.50", "15%"],
    ]
    assert "keeps all memory" in report.method_of(record)


def test_markdown_table_of_a_gpu():
    record = a_gpu_record()
    [row] = record["groups"][0]["rows"]
    # y 10·10·10 elements of 2·3·3 products: 36 000 operations in 2 µs; PyTorch takes 1.5 µs, and 0.5 µs in TF32
    assert (row["gflops"], row["ratio"], row["tf32_ratio"]) == (18, 0.75, 0.25)
    blocks = report.markdown_blocks(record)
    assert blocks["conv3x3-forward"] == (
        "| case | minivid ms | PyTorch ms | ratio | TF32 ms | ratio | GFLOP/s | of ceiling | ceiling |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 1×12×12×2 → 10, 3×3 valid | 0.002 | 0.0015 | 0.75 | 0.0005 | 0.25 | 18 | 15% | memory |\n\n"
        "0.75 times as fast as PyTorch; target 0.7: met."
    )
    assert blocks["machine"].splitlines()[:2] == [
        "- a GPU, Linux x86_64",
        "- NVIDIA's own matrix product (cuBLAS, float32) 0.2 TFLOP/s, copy bandwidth 20 GB/s",
    ]
    assert "CUDA events" in blocks["method"]
    assert "TF32 on run in three processes" in blocks["method"]
    assert "ceiling, which is the copy bandwidth" in blocks["shortfalls"]


def test_report_of_a_gpu(capsys):
    report.print_report(a_gpu_record())
    assert "a GPU, Linux x86_64" in capsys.readouterr().out


def test_the_page_of_the_gpu_has_a_place_for_every_table():
    """And says that nothing is measured, or holds the figures of its run."""
    page = ROOT / "docs" / "benchmarks" / "gpu.md"
    text = page.read_text(encoding="utf-8")
    marks = dict(re.findall(r"<!-- bench:([\w-]+) -->\n(.*?)<!-- end -->", text, re.DOTALL))
    assert marks.keys() >= {"machine", "method", "summary", *(group.key for group in groups("gpu"))}
    if page.with_suffix(".json").is_file():
        assert report.filled(text, json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))) == text
    else:
        assert set(marks.values()) == {"Not yet measured.\n"}


def test_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n<!-- bench:maxpool -->\nold\n<!-- end -->\ntext\n<!-- bench:lstm -->\n<!-- end -->\n")
    report.write_page(page, a_record())
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.startswith("# Title\n<!-- bench:maxpool -->\n| case |")
    assert text.endswith("<!-- end -->\ntext\n<!-- bench:lstm -->\nNot part of this run.\n<!-- end -->\n")
    again = a_record()
    report.write_page(page, again)
    assert page.read_text(encoding="utf-8") == text


def test_page_without_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="has no marks such as <!-- bench:summary -->"):
        report.check_page(page)


@pytest.mark.parametrize("name", ["how_fast.md", "benchmarks/zen5.md"])
def test_the_figures_of_the_documentation_are_those_of_its_run(name):
    """No number between the marks was typed by hand."""
    page = ROOT / "docs" / name
    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert report.filled(text, record) == text
    marks = {name for _, name, _ in report.BLOCK.findall(text)}
    assert marks >= {"machine", "method", "summary", "ladder-conv2d", "memory", "shortfalls", "neighbours", "step"}


@pytest.mark.parametrize("with_peer", [True, False])
def test_pictures(with_peer, tmp_path):
    written = pictures.draw_all(a_record(with_peer), tmp_path)
    assert [path.name for path in written] == ["bench.png", "roofline.png", "ladder_conv2d.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 600
            assert picture.getextrema() != ((255, 255),) * len(picture.getbands())


def test_pictures_of_a_ladder_alone(tmp_path):
    record = copy.deepcopy(a_record())
    record["groups"] = []
    assert [path.name for path in pictures.draw_all(record, tmp_path)] == ["ladder_conv2d.png"]
