"""The sandbox teacher: a simulated LLM, its HTTP server, and a meter that a client's ledger is measured by."""

from rpdr.teacher.sandbox.teacher import SandboxTeacher
from rpdr.teacher.sandbox.terms import Faults, Terms

__all__ = ["Faults", "SandboxTeacher", "Terms"]
