"""A folder that jobs are submitted from."""

from __future__ import annotations

from pathlib import Path

import pytest
from submitted import CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's: a config, a knowledge base, mentions, and what is nobody's business."""
    place = tmp_path / "mine"
    place.mkdir()
    (place / "c.yaml").write_text(CONFIG.format(run_dir=tmp_path / "run"))
    (place / "kb.csv").write_text("concept_id,name,synonyms\nC1,Vomiting,emesis|throwing up\nC2,Nausea,\n")
    (place / "mentions.csv").write_text("text,gold\nthrowing up,C1\n")
    (place / ".env").write_text("OPENAI_API_KEY=sk-mine\n")
    return place
