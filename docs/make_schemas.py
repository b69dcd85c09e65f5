"""Write docs/schemas/: JSON Schemas of the bundle's manifest and of a verdict, from the records in the code.

python docs/make_schemas.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgead.bundle.manifest import Manifest
from edgead.files import write_bytes
from edgead.records import json_schema
from edgead.verdicts.verdict import SCHEMA, Verdict

FOLDER = Path(__file__).with_name("schemas")


def schemas() -> dict[str, dict[str, Any]]:
    """Each schema by the name of its file."""
    verdict = json_schema(Verdict)
    record = verdict["$defs"]["Verdict"]
    record["properties"] = {"schema": {"const": SCHEMA}, **record["properties"]}
    record["required"] = list(record["properties"])  # a verdict is written whole
    for value in record["properties"].values():
        value.pop("default", None)
    return {
        "manifest.schema.json": json_schema(Manifest),
        "verdict.schema.json": verdict,
    }


def as_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        write_bytes(FOLDER / name, as_text(schema).encode())
