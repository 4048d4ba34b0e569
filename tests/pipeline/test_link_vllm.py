"""What the link job says where vLLM is asked for and is not there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from rpdr.config import Config
from rpdr.errors import ConfigError
from rpdr.pipeline.link import link
from rpdr.pipeline.on_ray.cluster import raised_by_worker
from rpdr.pipeline.progress import stage_progress
from rpdr.run import Run


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
@pytest.mark.parametrize("corpus", ["", "notes"])
def test_a_node_without_vllm_is_told_of_before_anything_is_done(tmp_path: Path, corpus: str):
    notes = {"format": "jsonl", "path": str(tmp_path / "missing.jsonl")}
    told = {"run_dir": str(tmp_path / "run"), "kb": {"format": "obo", "path": "x"}, "mentions": [notes], "corpora": {"notes": notes}}
    config = Config.model_validate({**told, "student": {"none_reads": "mention"}, "link": {"engine": "vllm"}})
    with stage_progress("link") as progress, pytest.raises(Exception, match="vllm") as caught:
        link(Run(config), progress, corpus)
    error = raised_by_worker(caught.value)
    assert isinstance(error, ConfigError)
    assert "link.engine: torch" in str(error)
    assert not list(tmp_path.iterdir())
