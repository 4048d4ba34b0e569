"""Knowledge bases: read one of four formats into `Concept`s, save them and load them again. Nothing here knows about mentions."""

from rpdr.kb.concept import Concept
from rpdr.kb.reader import load_kb, map_kb, read_kb, save_kb

__all__ = ["Concept", "load_kb", "map_kb", "read_kb", "save_kb"]
