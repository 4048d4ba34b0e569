"""The closed LLM: what it is asked, what it may cost, and the ledger of what it answered.

What asks is imported from `client` and `batch`: they need the openai SDK, whose import takes a second, and most of a run's processes ask nobody.
"""

from rpdr.teacher.choose import at_random, by_worth
from rpdr.teacher.endpoint import Endpoint, check_endpoint, resolve_endpoint
from rpdr.teacher.governor import Governor
from rpdr.teacher.ledger import Ledger
from rpdr.teacher.mask import is_masked_away, mask_question
from rpdr.teacher.prompt import Example, Question, build_messages, read_answer
from rpdr.teacher.sandbox import SandboxTeacher
from rpdr.teacher.trust import believe, kind
from rpdr.teacher.vote import Vote, vote

__all__ = [
    "Endpoint",
    "Example",
    "Governor",
    "Ledger",
    "Question",
    "SandboxTeacher",
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
