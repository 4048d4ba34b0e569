"""Knowledge bases: read one of four formats into `Concept`s, save them and load them again. Nothing here knows about mentions."""

from rpdr.kb.concept import Concept
from rpdr.kb.reader import kb_notes, load_kb, map_kb, read_kb, save_kb

__all__ = ["Concept", "kb_notes", "load_kb", "map_kb", "read_kb", "save_kb"]
