"""An index of millions of names: how long it takes to build, what it weighs, how many queries a second it answers, and what it misses.

    RPDR_DATA=… python benchmarks/index_scale.py [--names 5000000]

The vectors of MEDIC's and HPO's names (MiniLM, untuned) are real; between each and one of its 16 nearest further ones are drawn, with noise, until there
are as many as are wanted: to encode millions of names takes hours here. Queries are NCBI Disease's mentions: the build measures by half of them
how many lists it must search, the figures are of the others. Exact search of the same vectors by as many queries at a time, and encoding, are measured in
the same process.
Writes results/index_scale.json.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from outcome import keep

from rpdr.config import Config, load
from rpdr.corpus import Mention, stream_mentions
from rpdr.kb import read_kb
from rpdr.models import load_encoder
from rpdr.retriever import Index, build_index
from rpdr.retriever.index import CHUNK, Nearest, share_found
from rpdr.retriever.retriever import encode
from rpdr.retriever.vectors import PartsHere

CONFIGS = Path(__file__).parents[1] / "jobs" / "configs"
EXACT = 500_000  # names of the exact index
NEAREST, NOISE = 16, 0.01
BATCH, K, REPEATS = 128, 40, 5  # queries at a time, and names of each, as a retriever of ten candidates searches
AT = 10


def main() -> int:
    """Build, search, compare; one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=5_000_000)
    options = parser.parse_args()
    config, other = (load(CONFIGS / f"{name}.yaml") for name in ("ncbi_disease", "quickstart"))
    encoder = load_encoder(config.retriever.model, config.retriever.max_tokens)
    texts = _texts(config, "test")
    names = [name for each in (config, other) for concept in read_kb(each.kb)[0] for name in concept.names]
    world = World(encode(encoder, list(dict.fromkeys(names))), encode(encoder, texts))
    measured = {str(count): _measured(world, count, texts, kind) for count, kind in ((EXACT, "flat"), (options.names, "ivf"))}
    encoding = _rate(lambda some: encode(encoder, some), texts)
    rows = [
        [
            f"{int(count):,}",
            f"{m['kind']}{m['lists']}",
            f"{m['build_s']:.0f} s",
            f"{m['file_mib']:,.0f} MiB",
            f"{m['build_peak_mib']:,.0f} MiB",
            f"{m['queries_per_s'] / m['exact_queries_per_s']:.1f}",
            f"{m['queries_per_s'] / encoding:.1f}",
            f"{m['recall_at_10']:.3f}",
        ]
        for count, m in measured.items()
    ]
    columns = (
        *("Names", "Index", "Build, without encoding", "On disk", "Peak of the build"),
        *("Queries a second, against exact search", "… against the encoder", "Recall@10 of exact search"),
    )
    keep(
        "index_scale",
        f"RPDR_DATA=… python benchmarks/index_scale.py --names {options.names}",
        "vectors of MEDIC's and HPO's names, and drawn between them; queries: NCBI Disease's mentions",
        columns,
        rows,
        simulated=False,
        protocol=f"{world.real.shape[1]} dimensions, {len(world.real):,} real vectors; {len(texts) - len(texts) // 2:,} queries that the build has not seen, "
        f"{BATCH} at a time, {K} names each, all cores, median of {REPEATS}; exact search too. The peak has the real vectors in it.",
        measured=measured,
        encoder_texts_per_s=encoding,
    )
    return 0


class World:
    """`real` vectors (n, d) of names, drawn ones between them, and the vectors of queries."""

    def __init__(self, real: np.ndarray, queries: np.ndarray) -> None:
        self.real, self.queries = real, queries
        _, near = faiss.knn(real, real, NEAREST + 1, metric=faiss.METRIC_INNER_PRODUCT)
        self._near = near[:, 1:]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """As an encoder: of numbers the vectors of names, of numbers after a q those of queries."""
        if texts and texts[0].startswith("q"):
            return self.queries[[int(text[1:]) for text in texts]]
        numbers = np.array([int(text) for text in texts])
        round_, row = np.divmod(numbers, len(self.real))
        start, end = self.real[row], self.real[self._near[row, round_ % NEAREST]]
        noise = np.random.default_rng(int(numbers[0])).standard_normal(start.shape, dtype=np.float32) * NOISE
        share = ((round_ * 0.618) % 0.5).astype(np.float32)[:, None]
        drawn = start + share * (end - start) + noise
        return np.where((round_ == 0)[:, None], start, drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _texts(config: Config, split: str) -> list[str]:
    found = stream_mentions(config.mentions, config.seed)
    return list(dict.fromkeys(row.text for row in found if isinstance(row, Mention) and row.split in (split, "unlabelled")))


def _measured(world: World, count: int, texts: Sequence[str], kind: str) -> dict[str, Any]:
    names = [str(number) for number in range(count)]
    asked = [f"q{number}" for number in range(len(texts))]
    begin = time.perf_counter()
    built = build_index(world.encode, range(count), names, kind, asked[1::2])
    seconds = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        built.save(Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        assert isinstance(built.own, PartsHere)
        [part] = built.own.parts
        lists = getattr(part.faiss_index, "nlist", 0)
        told = {"kind": type(part.faiss_index).__name__, "build_s": seconds, "build_peak_mib": peak}
        told["lists"] = f", {part.faiss_index.nprobe} of {lists:,} lists searched" if lists else ""
        told["file_mib"] = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        del built, part
        index = Index.load(Path(folder))
        queries = world.encode(asked[::2])
        told["queries_per_s"] = _rate(lambda some: index.search(some, K), queries)
        _, found = index.search(queries, AT)
    exact, exact_s = _exact(world, names, queries)
    told["exact_queries_per_s"] = len(queries) / exact_s
    told["recall_at_10"] = share_found(found, exact)
    return told


def _exact(world: World, names: Sequence[str], queries: np.ndarray) -> tuple[np.ndarray, float]:
    """(the AT nearest rows of each query, seconds of a search for K in batches as the index is asked), some names at a time: all are too many for memory."""
    nearest, seconds = Nearest(queries, AT), 0.0
    for start in range(0, len(names), CHUNK):
        vectors = world.encode(names[start : start + CHUNK])
        nearest.see(vectors)
        seconds += len(queries) / _rate(partial(_search, vectors), queries)
    return nearest.rows, seconds


def _search(vectors: np.ndarray, queries: np.ndarray) -> None:
    Nearest(queries, K).see(vectors)


def _rate(answer: Callable[[Any], Any], asked: Any) -> float:
    """Queries a second, the median of some rounds."""
    answer(asked[:BATCH])  # warm
    rates = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for start in range(0, len(asked), BATCH):
            answer(asked[start : start + BATCH])
        rates.append(len(asked) / (time.perf_counter() - begin))
    return statistics.median(rates)


if __name__ == "__main__":
    raise SystemExit(main())
