"""The names of a knowledge base as mentions, each with its own concept as gold: laypeople's synonyms make a corpus with known answers."""

from __future__ import annotations

from collections.abc import Iterator

from rpdr.config import MentionsConfig
from rpdr.corpus.mention import RawMention
from rpdr.files import Source
from rpdr.kb import read_kb
from rpdr.remote import shown
from rpdr.tables.rejects import Reject


def read(_: Source, config: MentionsConfig) -> Iterator[RawMention | Reject]:
    """One mention a name; `line` is the running number of the concept. Raises DataError as read_kb does."""
    assert config.kb  # of this format each config has one
    concepts, rejects = read_kb(config.kb)
    yield from rejects
    for number, concept in enumerate(concepts, start=1):
        for name in concept.names:
            yield RawMention(shown(config.kb.path), number, name, gold=[[concept.concept_id]])
