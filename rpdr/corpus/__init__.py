"""Corpora: read sources of mentions into one shape, split them, key them, save them and load them again."""

from rpdr.corpus.gold import KnownConcepts
from rpdr.corpus.mention import Mention, load_mentions, save_mentions
from rpdr.corpus.normalise import mention_key, normalise
from rpdr.corpus.reader import mention_notes, stream_mentions

__all__ = [
    "KnownConcepts",
    "Mention",
    "load_mentions",
    "mention_key",
    "mention_notes",
    "normalise",
    "save_mentions",
    "stream_mentions",
]
