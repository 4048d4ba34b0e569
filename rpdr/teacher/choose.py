"""Which mentions to ask the teacher about first, where the budget may not reach for all: at random, or by what a label is worth.

Worth is the retriever's uncertainty (entropy over its candidates) times how often the mention stands in the data, over how many
mentions with the same first candidate come before it: uncertainty, density and diversity (Settles 2009, "Active Learning Literature
Survey", parts 3.1, 3.6).
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from rpdr.schema import ConceptId, MentionKey

TEMPERATURE = 0.05  # of cosines: with it, a candidate that is 0.05 more similar is e times as likely


def at_random(keys: Sequence[MentionKey], seed: int) -> list[MentionKey]:
    """By hash: the order of the keys given plays no part, and a key more moves no other."""
    return sorted(keys, key=lambda key: hashlib.md5(f"{seed}{key}".encode()).hexdigest())


def by_worth(
    keys: Sequence[MentionKey],
    counts: Mapping[MentionKey, int],
    scores: Mapping[MentionKey, Sequence[float]],
    first: Mapping[MentionKey, ConceptId],
    seed: int,
) -> list[MentionKey]:
    """Most worth first. `counts`: mentions in the data; `scores`: cosines of the candidates; `first`: the best candidate's id."""
    worth = {key: (0.05 + uncertainty(scores[key])) * (1 + math.log(max(1, counts[key]))) for key in keys}
    asked: Counter[ConceptId] = Counter()
    # a place in the queue can only fall: what is taken out with an outdated worth goes back with today's
    queue = [(-worth[key], place, key) for place, key in enumerate(at_random(keys, seed))]
    heapq.heapify(queue)
    order = []
    while queue:
        value, place, key = heapq.heappop(queue)
        today = -worth[key] / (1 + asked[first[key]])
        if today > value:
            heapq.heappush(queue, (today, place, key))
            continue
        asked[first[key]] += 1
        order.append(key)
    return order


def uncertainty(scores: Sequence[float]) -> float:
    """Entropy of a softmax over the candidates' cosines, as a share of its most, in [0, 1]."""
    if len(scores) < 2:
        return 0.0
    top = max(scores)
    weights = [math.exp((score - top) / TEMPERATURE) for score in scores]
    total = sum(weights)
    return -sum(w / total * math.log(w / total) for w in weights if w) / math.log(len(scores))
