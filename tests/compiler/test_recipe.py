from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgead.compiler.recipe import Recipe, list_recipes, load_recipe
from edgead.errors import DataError, UnknownNameError, UsageError


def test_the_shipped_default_is_the_default() -> None:
    assert load_recipe("default") == Recipe()


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_loads(name: str) -> None:
    assert load_recipe(name).name == name


def test_an_unknown_name_has_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean default"):
        load_recipe("defualt")


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[quantization]\nkeep_layers = ["/a"]\n[gate]\nmax_drop_au_pro = 0\n')
    recipe = load_recipe(path)
    assert recipe.name == "mine"
    assert recipe.quantization.keep_layers == ("/a",)
    assert recipe.gate.max_drop_au_pro == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gates]\n", "unknown field 'gates' (did you mean 'gate'?)"),
        ("[gate]\ntrys = 1\n", "recipe bad: gate: unknown field 'trys' (did you mean 'tries'?)"),
        ("[gate]\ntries = true\n", "recipe bad: Expected `int`, got `bool` at `gate.tries`"),
        ("[gate]\ntries = -1\n", "gate.tries: expected a value from 0 to 100, found -1"),
        ("[gate]\nmax_drop_au_pro = nan\n", "expected a value from 0 to 1, found nan"),
        ("[calibration]\nimages = 0\n", "calibration.images: expected a value from 1"),
        ("[calibration]\nimages = 1.5\n", "Expected `int`, got `float` at `calibration.images`"),
        ("calibration = 3\n", "Expected `object`, got `int` at `calibration`"),
        ('[quantization]\npreset = "fast"\n', "expected one of performance, mixed, found 'fast'"),
        ("[quantization]\nkeep_layers = [1]\n", "Expected `str`, got `int` at `quantization.keep_layers[0]`"),
        ('[quantization]\npreset = "mixed"\nactivations = "signed-per-tensor"\n', "makes zero points"),
        ('[quantization]\nbias_correction = "fast"\n', 'set weight_rounding = "nearest" as well'),
        ('[quantization]\nweight_rounding = "up"\n', "expected one of calibrated, nearest, found 'up'"),
        ("[gate\n", "not valid TOML"),
        ('name = "mine"\n', "unknown field 'name'"),
    ],
)
def test_a_recipe_that_is_wrong_names_the_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_recipe(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "none.toml"))):
        load_recipe(tmp_path / "none.toml")


def test_one_limit_sets_both() -> None:
    gate = Recipe().with_max_drop(0.01).gate
    assert gate.max_drop_image_auroc == gate.max_drop_au_pro == 0.01
