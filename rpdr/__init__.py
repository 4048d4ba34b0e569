"""rpdr links biomedical mentions to the concepts of a knowledge base: few labels, one paid teacher, a local student, on Ray."""

from rpdr.errors import RpdrError

__version__ = "0.1.0"
__all__ = ["Linker", "RpdrError", "__version__"]


def __getattr__(name: str) -> object:
    """Import Linker (and with it torch) only when it is asked for."""
    if name == "Linker":
        from rpdr.linker import Linker

        return Linker
    raise AttributeError(f"module 'rpdr' has no attribute {name!r}")
