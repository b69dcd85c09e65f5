"""Tiny data sets in the true layouts of the published ones, written by the tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgead.images import write_image

SIDE = 16


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((SIDE, SIDE, 3), 90, np.uint8))
    return path


def mask(path: Path, *, value: int = 255, at: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.zeros((SIDE, SIDE), np.uint8)
    levels[at : at + 4, 4:8] = value
    write_image(path, levels)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def mvtec(root: Path) -> Path:
    product = root / "bottle"
    for name in ("train/good/000.png", "train/good/001.png", "test/good/000.png", "test/broken/000.png"):
        picture(product / name)
    mask(product / "ground_truth/broken/000_mask.png")
    return product


def mvtec_3d(root: Path) -> Path:
    product = root / "bagel"
    for name in ("train/good", "validation/good", "test/good", "test/crack"):
        picture(product / name / "rgb" / "000.png")
        text(product / name / "xyz" / "000.tiff", "heights")
    picture(product / "train/good/rgb/001.png")
    mask(product / "test/crack/gt/000.png")
    mask(product / "test/good/gt/000.png", value=0)
    return product


def mvtec_loco(root: Path) -> Path:
    product = root / "pushpins"
    for name in ("train/good/0.png", "train/good/1.png", "validation/good/0.png", "test/good/0.png"):
        picture(product / name)
    for kind in ("logical_anomalies", "structural_anomalies"):
        picture(product / "test" / kind / "000.png")
        mask(product / "ground_truth" / kind / "000" / "000.png", value=247)
    mask(product / "ground_truth/logical_anomalies/000/001.png", value=251, at=12)
    return product


def btad(root: Path) -> Path:
    product = root / "01"
    for name in ("train/ok/0.bmp", "train/ok/1.bmp", "test/ok/0.bmp", "test/ko/0.bmp"):
        picture(product / name)
    mask(product / "ground_truth/ko/0.png")
    return product


def visa(root: Path) -> Path:
    product = root / "candle"
    rows = ["object,split,label,image,mask"]
    for split, number in (("train", 0), ("train", 1), ("test", 2)):
        image = picture(product / f"Data/Images/Normal/{number:04}.JPG").relative_to(root).as_posix()
        rows.append(f"candle,{split},normal,{image},")
    image = picture(product / "Data/Images/Anomaly/000.JPG").relative_to(root).as_posix()
    truth = mask(product / "Data/Masks/Anomaly/000.png", value=3).relative_to(root).as_posix()
    rows += [f"candle,test,anomaly,{image},{truth}", "cashew,train,normal,cashew/a.JPG,"]
    text(root / "split_csv" / "1cls.csv", "\n".join(rows) + "\n")
    return product


def real_iad(root: Path) -> Path:
    product = root / "realiad_256" / "audiojack"
    split: dict = {"meta": {"normal_class": "OK", "prefix": "audiojack/"}, "train": [], "test": []}

    def add(half: str, kind: str, part: str, view: int) -> None:
        folder = f"OK/{part}" if kind == "OK" else f"NG/{kind}/{part}"
        name = f"{folder}/audiojack_{part}_C{view}.jpg"
        picture(product / name)
        truth = None if kind == "OK" else name.replace(".jpg", ".png")
        if truth:
            mask(product / truth)
        entry = {"category": "audiojack", "anomaly_class": kind, "image_path": name, "mask_path": truth}
        split[half].append(entry)

    for view in (1, 2):
        add("train", "OK", "S0001", view)
        add("test", "OK", "S0002", view)
        add("test", "AK", "S0003", view)
    text(root / "realiad_jsons" / "realiad_jsons" / "audiojack.json", json.dumps(split))
    return product


def magnetic_tile(root: Path) -> Path:
    product = root / "tiles"
    for number in range(20):
        picture(product / "MT_Free/Imgs" / f"exp1_num_{number}.jpg")
        mask(product / "MT_Free/Imgs" / f"exp1_num_{number}.png", value=0)
    for kind in ("Blowhole", "Crack"):
        picture(product / f"MT_{kind}/Imgs/exp1_num_9.jpg")
        mask(product / f"MT_{kind}/Imgs/exp1_num_9.png")
    return product


def kolektor(root: Path) -> Path:
    product = root / "KolektorSDD2"
    for half, defective in (("train", 2), ("test", 1)):
        for number in range(3):
            picture(product / half / f"{10000 + number}.png")
            mask(product / half / f"{10000 + number}_GT.png", value=255 if number == defective else 0)
    return product


def deep_pcb(root: Path) -> Path:
    product = root / "PCBData"
    for table, number in (("trainval.txt", "00041000"), ("test.txt", "00041001")):
        folder = "group00041/00041"
        for which in ("temp", "test"):
            picture(product / folder / f"{number}_{which}.jpg")
        text(product / f"{folder}_not" / f"{number}.txt", "4 4 8 8 1\n10,2,12,6,3\n")
        text(product / table, f"{folder}/{number}.jpg {folder}_not/{number}.txt\n")
    return product


def vad(root: Path) -> Path:
    product = root / "vad"
    for name in (
        "train/good/0.png",
        "train/good/1.png",
        "train/bad/0.png",
        "test/good/0.png",
        "test/bad/0.png",
    ):
        picture(product / name)
    return product
