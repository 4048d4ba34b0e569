"""The bi-encoder: fine-tuning on few labels, the index over all names, and search."""

from rpdr.retriever.index import Index, build_index
from rpdr.retriever.retriever import Candidates, Retriever
from rpdr.retriever.train import Pair, train_encoder

__all__ = ["Candidates", "Index", "Pair", "Retriever", "build_index", "train_encoder"]
