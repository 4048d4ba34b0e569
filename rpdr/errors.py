"""Every error that rpdr raises on purpose, in one tree; each message says what is wrong, where, and what to do.

RpdrError                a user can act on it: one line, exit code 2, no traceback
├── ConfigError          the config file, or a value in it
├── DataError            a knowledge base or corpus that cannot be read at all (single bad rows become rejects)
├── ModelError           a model that cannot be found or loaded
├── TeacherError         the endpoint does not answer, or refuses
│   └── BudgetError      no money to ask with
└── RunError             the run directory does not fit what is asked of it
"""


class RpdrError(Exception):
    """Base of all errors a user can act on."""


class ConfigError(RpdrError):
    """The config file, or a value in it, is wrong."""


class DataError(RpdrError):
    """A knowledge base or corpus cannot be read at all."""


class ModelError(RpdrError):
    """A model cannot be found or loaded."""


class TeacherError(RpdrError):
    """The teacher's endpoint does not answer, or refuses."""


class BudgetError(TeacherError):
    """There is no money to ask the teacher with."""


class RunError(RpdrError):
    """The run directory does not fit what is asked of it."""
