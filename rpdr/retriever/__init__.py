"""The bi-encoder: fine-tuning on few labels, the index over all names, and search."""

from rpdr.retriever.commonness import Commonness, fit_weights
from rpdr.retriever.discount import fit_discount
from rpdr.retriever.exact import ExactNames
from rpdr.retriever.index import Index, build_index
from rpdr.retriever.prior import Prior, fit_prior, similarity_matrix
from rpdr.retriever.retriever import Candidates, Remembering, Retriever
from rpdr.retriever.rows import add_candidates, distinct_rows, rescored
from rpdr.retriever.train import Pair, train_encoder

__all__ = [
    "Candidates",
    "Commonness",
    "ExactNames",
    "Index",
    "Pair",
    "Prior",
    "Remembering",
    "Retriever",
    "add_candidates",
    "build_index",
    "distinct_rows",
    "fit_discount",
    "fit_prior",
    "fit_weights",
    "rescored",
    "similarity_matrix",
    "train_encoder",
]
