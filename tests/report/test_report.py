"""The report: its contents, what it says of what is missing, and what a real browser makes of it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgead.bundle import ThresholdSpec
from edgead.datasets import Sample
from edgead.errors import DataError, UsageError
from edgead.evaluation.evaluator import evaluate_samples
from edgead.images import write_image
from edgead.map_and_score import MapAndScore
from edgead.report import NOT_MEASURED, Latency, ReportData, latency_from_samples, pictures, write_report
from edgead.report.page import clopper_pearson

SECTIONS = (
    "pictures",
    "scores",
    "curves",
    "metrics",
    "compiled",
    "latency",
    "budget",
    "training",
    "versions",
)
HOSTILE = "<script>alert('x')</script>&\"'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "a&b <i>"
    rng = np.random.default_rng(0)
    samples = []
    for i in range(14):
        kind = ("good", "good", "scratch", "dent $x$")[i % 4]
        image = rng.integers(90, 110, (60, 200 if i > 9 else 80, 3)).astype(np.uint8)
        mask = np.zeros_like(image)
        mask[10:30, 20:40] = 255
        if kind != "good":
            image[mask > 0] = 110 + 8 * i
        folder = root / kind
        (folder / "masks").mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{i}.png", image)
        write_image(folder / "masks" / f"{i}.png", mask)
        samples.append(
            Sample(folder / f"{i}.png", kind, folder / "masks" / f"{i}.png" if kind != "good" else None)
        )

    def predict(image):
        values = np.abs(image[::4, ::4, 0].astype(np.float32) - 100)
        return MapAndScore(values, float(values.max()))

    return evaluate_samples(predict, samples, size=(64, 64), keep_maps=True)


@pytest.fixture(scope="module")
def full(evaluation):
    threshold = ThresholdSpec(40.0, 20.0, 0.01, 0.001, 0.05, 0.95, 96, "quantile")
    milliseconds = np.random.default_rng(1).gamma(20, 0.2, 500)
    return ReportData(
        title=f"Tiles {HOSTILE}",
        dataset="drawn",
        evaluation=evaluation,
        threshold=threshold,
        stages={"float": evaluation.summary(), "int8": {**evaluation.summary(), "image_auroc": 0.5}},
        stages_measured_on="the test images",
        latency=Latency(milliseconds, stages_ms={"infer": milliseconds * 0.9}, budget_ms=6),
        trained={"images": HOSTILE},
        chosen_by={"test images": "nothing"},
        versions={"edgead": "0.1.0"},
        machine={"CPU": "two cores"},
    )


def written(tmp_path, data):
    write_report(tmp_path / "report.html", data)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_every_section_is_there_with_data(tmp_path, full):
    text = written(tmp_path, full)
    assert [s for s in SECTIONS if f'<section id="{s}">' not in text] == []
    assert "Missed defects" in text
    assert "Clearest defects</h3>" in text
    assert 'class="case wide"' in text


def test_what_is_missing_is_said(tmp_path):
    text = written(tmp_path, ReportData("Nothing yet"))
    for section in SECTIONS:
        part = text.split(f'<section id="{section}">')[1].split("</section>")[0]
        assert NOT_MEASURED in part or "ot recorded" in part
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()


def test_nothing_is_loaded_and_nothing_is_injected(tmp_path, full):
    text = re.sub(r"base64,[^\"]*", "", written(tmp_path, full))
    assert "<script" not in text
    assert HOSTILE not in text
    assert html.escape("a&b <i>", quote=False) in text
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", text) == []
    assert "url(" not in text


def test_the_head_counts_at_the_threshold(tmp_path, full):
    text = written(tmp_path, full)
    scores = [(r.is_anomalous, r.score >= 40) for r in full.evaluation.records]
    assert f"{scores.count((True, True))} of {sum(a for a, _ in scores)}; 95 % interval" in text


@pytest.mark.parametrize(
    "change", [{"threshold": None}, {"latency": None, "stages": {}}, {"evaluation": None}]
)
def test_parts_may_be_missing(tmp_path, full, change):
    text = written(tmp_path, replace(full, **change))
    assert NOT_MEASURED in text


def test_images_that_are_gone_and_maps_not_kept_are_said(tmp_path, evaluation):
    gone = [replace(r, path=tmp_path / "gone.png", anomaly_map=None) for r in evaluation.records]
    text = written(tmp_path, ReportData("Gone", evaluation=replace(evaluation, records=tuple(gone))))
    assert "cannot be read any more" in text
    kept = [replace(r, anomaly_map=None) for r in evaluation.records]
    text = written(tmp_path, ReportData("Bare", evaluation=replace(evaluation, records=tuple(kept))))
    assert "the map was not kept" in text


@pytest.mark.parametrize("kinds", [{"good"}, {"scratch"}])
def test_one_class_only(tmp_path, evaluation, kinds):
    records = [r for r in evaluation.records if r.kind in kinds]
    samples = [Sample(r.path, r.kind, r.mask_path) for r in records]
    maps = iter(records)
    alone = evaluate_samples(
        lambda image: MapAndScore((r := next(maps)).anomaly_map, r.score), samples, keep_maps=True
    )
    text = written(tmp_path, ReportData("One class", evaluation=alone))
    assert "Curves, which need good and defective images: not measured" in text


def test_a_rejected_part_below_the_pixel_threshold_is_outlined_at_its_peak():
    peaks = np.zeros((20, 30), np.float32)
    peaks[4:8, 5:9], peaks[14:16, 20:22] = 1.0, 0.4
    found = pictures._found(peaks, 5.0, is_rejected=True)
    assert found[4:8, 5:9].all()
    assert found.sum() == 16
    assert not pictures._found(peaks, 5.0, is_rejected=False).any()
    assert pictures._found(peaks, 0.3, is_rejected=True).sum() == 20


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    written(tmp_path, ReportData("Old"))

    def full_disk(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(DataError, match=r"report\.html.*No space left"):
        write_report(tmp_path / "report.html", ReportData("New"))
    assert "Old" in (tmp_path / "report.html").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_latency_percentiles_are_latencies_that_were_seen():
    found = Latency([3.0, 1.0, 2.0], counts=[1, 98, 1]).percentiles()
    assert found == {"p50": 1.0, "p90": 1.0, "p99": 2.0, "p99.9": 3.0, "max": 3.0}


def test_latency_from_the_samples_of_a_benchmark():
    found = latency_from_samples(
        {"total": [2_000_000, 4_000_000], "infer": [1_000_000, 3_000_000]}, budget_ms=3
    )
    assert found.percentiles()["max"] == 4
    assert found.stage_percentiles()["infer"]["p50"] == 1
    with pytest.raises(UsageError, match=r"'total'.*found infer"):
        latency_from_samples({"infer": [1]})


@pytest.mark.parametrize(("values", "counts"), [([], None), ([1.0], [1, 2]), ([1.0], [0])])
def test_latency_without_values(values, counts):
    with pytest.raises(UsageError, match="Leave latency out"):
        Latency(values, counts)


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 100, (0, 0.0362)), (100, 100, (0.9638, 1)), (5, 100, (0.0164, 0.1128))],
)
def test_intervals_match_published_tables(part, whole, expected):
    assert clopper_pearson(part, whole) == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_real_browser_shows_it(tmp_path, full):
    write_report(tmp_path / "report.html", full)
    page = tmp_path / "probe.html"  # the report with a script that reports what the browser made of it
    policy = "script-src 'unsafe-inline'; img-src data:"
    probe = """<script>addEventListener('load', () => {
      const broken = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
      const shown = [...document.querySelectorAll('section')].filter(s => s.offsetHeight > 40).length;
      const wide = document.documentElement.scrollWidth > innerWidth;
      document.title = `images=${document.images.length} broken=${broken} shown=${shown} wide=${wide}`;
    });</script>"""
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page.write_text(
        text.replace("img-src data:", policy, 1).replace("</head>", probe + "</head>"), encoding="utf-8"
    )
    run = browse(tmp_path, page)
    title = re.search("<title>(.*?)</title>", run.stdout)
    assert title
    assert re.fullmatch(rf"images=\d\d broken=0 shown={len(SECTIONS)} wide=false", title[1])
    plain = browse(tmp_path, tmp_path / "report.html")
    assert "CONSOLE" not in plain.stderr
    assert html.escape(HOSTILE, quote=False).split("(")[0] in plain.stdout


def browse(tmp_path, page):
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--enable-logging=stderr",
        "--v=0",
        "--window-size=1280,900",
        "--dump-dom",
    ]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
