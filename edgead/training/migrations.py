"""run.json of earlier schema versions, brought to the current one step by step.

What earlier versions did not say of a network, its configuration adds (`added_fields`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgead.errors import DataError
from edgead.models.realnet.config import RealNetConfig
from edgead.models.scoring.rule import HIGHEST
from edgead.synthesis.subtle import SubtleSource

SCHEMA_VERSION = 5

# Settings that later runs of version 1 wrote only where they differed from these.
_UNWRITTEN = {"foreground": True, "balanced": True, "anomaly_set": None}
_UNGROUPED = "image"  # settings.group_by: their splits were by image
_BY_BANK = ("distances", "pooled_distances")  # scales: one for each bank since schema 3
_SOURCES = {"near": SubtleSource.name}
_WEIGHTS = ("top_share", "map_weights", "score_weights")
_SCALES = ("residuals", "logits", "distances", "pooled_logits", "pooled_residuals", "pooled_distances")


def _version_2(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting is written; the scales of the score and of each product have a record of their own."""
    settings = {**_UNWRITTEN, "group_by": _UNGROUPED, **content["settings"]}
    roots, threshold = content["data_root"], content["threshold"]
    settings["synthesis"] = {_SOURCES.get(name, name): w for name, w in settings["synthesis"].items()}
    others = {name: value for name, value in content.items() if name != "data_root"}
    return {
        **others,
        "settings": settings,
        "rule": _rule_of_version_2(content["rule"]),
        "threshold": {**threshold, "good_groups": threshold["good_images"]},
        "data_roots": [roots] if isinstance(roots, str) else roots,
    }


def _rule_of_version_2(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: rule[name] for name in _WEIGHTS},
        "scales": {name: rule[name] for name in _SCALES},
        "products": [{name: own[name] for name in _SCALES} for own in rule.get("products", ())],
        "product_classifier": rule.get("teller"),
        "fusion": HIGHEST,
    }


def _version_3(content: Mapping[str, Any]) -> dict[str, Any]:
    """A network may have several memory banks; their scales are lists."""
    banks = int(bool(content["settings"]["model"]["bank_stages"]))
    rule = content["rule"]
    rule = {
        **rule,
        "scales": _by_bank(rule["scales"], banks),
        "products": [_by_bank(own, banks) for own in rule["products"]],
    }
    return {**content, "rule": rule}


def _by_bank(scales: Mapping[str, Any], banks: int) -> dict[str, Any]:
    return {name: [value] * banks if name in _BY_BANK else value for name, value in scales.items()}


def _version_4(content: Mapping[str, Any]) -> dict[str, Any]:
    """Several trainings may hold out the groups in turn."""
    return {**content, "settings": {"folds": 1, **content["settings"]}}


def _version_5(content: Mapping[str, Any]) -> dict[str, Any]:
    """Good images may be augmented."""
    return {**content, "settings": {"augment": "none", **content["settings"]}}


def current_allocation(content: Any) -> Any:
    """The plan of plan.json, which runs of version 1 have, as an allocation: fields were renamed."""
    if not isinstance(content, Mapping) or not isinstance(content.get("config"), Mapping):
        return content
    named = {_ALLOCATION_FIELDS.get(name, name): value for name, value in content.items()}
    return {**named, "config": RealNetConfig.current_fields(content["config"])}


_ALLOCATION_FIELDS = {"stage_bits": "stage_information"}
# version -> what makes the next one of it
MIGRATIONS: dict[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    1: _version_2,
    2: _version_3,
    3: _version_4,
    4: _version_5,
}


def current_run(content: dict[str, Any], *, origin: str) -> dict[str, Any]:
    """The content of run.json in the current schema; DataError for a version that is unknown, or damage."""
    version = content.get("schema_version")
    while version in MIGRATIONS:
        try:
            content = {**MIGRATIONS[version](content), "schema_version": version + 1}
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{origin} is damaged ({type(error).__name__}: {error}). Copy it again or train again."
            ) from error
        version += 1
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{origin} has schema version {version!r}, this edgead reads {SCHEMA_VERSION} and earlier ones. "
            "Train again or use the version that wrote it."
        )
    return content
