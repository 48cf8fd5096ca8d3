"""What the pages tell a person to write into a site file can be written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from agent.config import load_site

DOCS = Path(__file__).parents[2] / "docs"
SITE = {
    "site": {"id": "s"},
    "market": {"hashprice_usd_per_ths_day": 0.05},
    "tariff": {"kind": "fixed", "price_usd_per_kwh": 0.05},
    "miners": [{"address": "192.0.2.1"}],
}
FRAGMENTS = [
    pytest.param(text, id=f"{page}-{i}")
    for page in ("prices", "coins", "limits")
    for i, text in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.parametrize("text", FRAGMENTS)
def test_what_a_page_shows_is_a_valid_part_of_a_site_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(SITE | yaml.safe_load(text)))
    load_site(path)
