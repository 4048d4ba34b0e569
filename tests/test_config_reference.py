"""The page of all keys, and the configs that the documentation shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rpdr.config import Config

ROOT = Path(__file__).parents[1]
SECTIONS = {*Config.model_fields}


def reference() -> Any:
    told = importlib.util.spec_from_file_location("config_reference", ROOT / "docs" / "config_reference.py")
    assert told is not None
    assert told.loader is not None
    module = importlib.util.module_from_spec(told)
    told.loader.exec_module(module)
    return module


def test_the_page_of_all_keys_is_as_the_config_has_them() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == reference().page(), "python docs/config_reference.py"
    assert "| `max_tokens` | `32` | ≥ 4: tokens of a text that are read |" in page


@pytest.mark.parametrize("where", ["README.md", "docs/your_data.md", "docs/knowledge_bases.md"])
def test_what_the_documentation_shows_of_a_config_is_one(where: str) -> None:
    least = {"run_dir": "x", "kb": {"format": "obo", "path": "x"}, "mentions": [{"format": "jsonl", "path": "x"}]}
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", (ROOT / where).read_text(encoding="utf-8"), re.DOTALL)]
    configs = [block for block in shown if isinstance(block, dict) and block.keys() <= SECTIONS]
    assert configs
    for config in configs:
        Config.model_validate({**least, **config})
