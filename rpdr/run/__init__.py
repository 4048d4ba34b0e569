"""A run directory: what lies where in it, which stages are finished, and how what they made is read. No Ray."""

from rpdr.run.folder import WORK, Run, resolve_run_dir
from rpdr.run.secrets import refuse_secrets
from rpdr.run.stages import STAGES, Stage, check_corpus, linking

__all__ = ["STAGES", "WORK", "Run", "Stage", "check_corpus", "linking", "refuse_secrets", "resolve_run_dir"]
