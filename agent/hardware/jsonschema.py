"""JSON Schemas of the YAML files people write, so that their editors complete and check them.

Generated from the models that load the files; the agent itself never reads a JSON Schema.
"""

from __future__ import annotations

import json
from typing import Any

from agent.advice.coins import CoinsFile
from agent.config import SiteConfig
from agent.hardware.profile import HardwareProfile
from agent.pools.file import PoolsFile
from agent.yamlfile import StrictModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def hardware_schema() -> dict[str, Any]:
    """Schema of `configs/hardware/*.yaml`."""
    return _schema(HardwareProfile, "hashmargin hardware profile")


def site_schema() -> dict[str, Any]:
    """Schema of `site.yaml`."""
    return _schema(SiteConfig, "hashmargin site file")


def pools_schema() -> dict[str, Any]:
    """Schema of `pools.yaml`."""
    return _schema(PoolsFile, "hashmargin pools file")


def coins_schema() -> dict[str, Any]:
    """Schema of `coins.yaml`."""
    return _schema(CoinsFile, "hashmargin coins file")


def schema_text(schema: dict[str, Any]) -> str:
    """The file form: two spaces of indent, a newline at the end."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[StrictModel], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, **model.model_json_schema(), "title": title}
