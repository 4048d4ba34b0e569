"""The closed LLM: what it is asked, what it may cost, and the ledger of what it answered."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rpdr.teacher.choose import at_random, by_worth
from rpdr.teacher.endpoint import Endpoint, check_endpoint, resolve_endpoint
from rpdr.teacher.governor import Governor
from rpdr.teacher.ledger import Ledger
from rpdr.teacher.mask import is_masked_away, mask_question
from rpdr.teacher.prompt import Example, Question, build_messages, read_answer
from rpdr.teacher.sandbox import SandboxTeacher
from rpdr.teacher.trust import believe, kind
from rpdr.teacher.vote import Vote, vote

if TYPE_CHECKING:
    from rpdr.teacher.batch import BatchClient
    from rpdr.teacher.client import Answer, TeacherClient

# what asks needs the openai SDK, whose import takes a second: processes that ask nobody, most of a run's, do not wait for it
_ASKS = {"Answer": "client", "BatchClient": "batch", "TeacherClient": "client"}


def __getattr__(name: str) -> Any:
    if name not in _ASKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ASKS[name]}"), name)


__all__ = [
    "Answer",
    "BatchClient",
    "Endpoint",
    "Example",
    "Governor",
    "Ledger",
    "Question",
    "SandboxTeacher",
    "TeacherClient",
    "Vote",
    "at_random",
    "believe",
    "build_messages",
    "by_worth",
    "check_endpoint",
    "is_masked_away",
    "kind",
    "mask_question",
    "read_answer",
    "resolve_endpoint",
    "vote",
]
