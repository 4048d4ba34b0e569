"""The closed LLM: what it is asked, what it may cost, and the ledger of what it answered."""

from rpdr.teacher.client import Answer, TeacherClient
from rpdr.teacher.endpoint import Endpoint, check_endpoint, resolve_endpoint
from rpdr.teacher.governor import Governor
from rpdr.teacher.ledger import Ledger
from rpdr.teacher.prompt import Example, Question, build_messages, parse_answer
from rpdr.teacher.sandbox import SandboxTeacher

__all__ = [
    "Answer",
    "Endpoint",
    "Example",
    "Governor",
    "Ledger",
    "Question",
    "SandboxTeacher",
    "TeacherClient",
    "build_messages",
    "check_endpoint",
    "parse_answer",
    "resolve_endpoint",
]
