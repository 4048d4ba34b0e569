"""One typed, frozen config for a run. Every key has a default where one makes sense, a unit in its name, and a check.

`load(path)` reads YAML, refuses unknown keys (naming the nearest valid one), and raises ConfigError with the file and line.
"""

from rpdr.config.linking import LinkConfig, Needs, ResourcesConfig
from rpdr.config.models import RetrieverConfig, StudentConfig
from rpdr.config.run import Config, load
from rpdr.config.sources import DocumentSplit, HashSplit, KbConfig, MentionsConfig
from rpdr.config.teacher import SANDBOX, Price, SandboxConfig, TeacherConfig
from rpdr.config.values import actors_between

__all__ = [
    "SANDBOX",
    "Config",
    "DocumentSplit",
    "HashSplit",
    "KbConfig",
    "LinkConfig",
    "MentionsConfig",
    "Needs",
    "Price",
    "ResourcesConfig",
    "RetrieverConfig",
    "SandboxConfig",
    "StudentConfig",
    "TeacherConfig",
    "actors_between",
    "load",
]
