"""What identifies a person, in a text: found, and masked before the text leaves the machine. Knows nothing of teachers."""

from rpdr.masking.identifiers import HARD
from rpdr.masking.masker import PATTERNS_ALONE, Masker, merged, replaced
from rpdr.masking.spans import LATIN, Span

__all__ = ["HARD", "LATIN", "PATTERNS_ALONE", "Masker", "Span", "merged", "replaced"]
