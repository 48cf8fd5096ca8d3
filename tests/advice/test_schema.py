from __future__ import annotations

from pathlib import Path

from agent.hardware.jsonschema import coins_schema, schema_text

ROOT = Path(__file__).parents[2]


def test_the_schema_of_the_coins_file_is_the_generated_one() -> None:
    stored = (ROOT / "configs" / "coins.schema.json").read_text()
    assert stored == schema_text(coins_schema()), "run: make schemas"
