"""Stage `baselines`: the encoder as it comes, and tuned on the teacher's labels too: what a student must beat to earn its place."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rpdr.corpus import load_mentions
from rpdr.files import write_table
from rpdr.kb import load_kb
from rpdr.models import load_encoder
from rpdr.pipeline.links import gold_pairs
from rpdr.pipeline.progress import StageProgress
from rpdr.pipeline.tuning import tuned_encoder
from rpdr.retriever import Retriever, add_candidates, distinct_rows
from rpdr.run import WORK, Run
from rpdr.run.folder import RETUNED
from rpdr.run.labels import TRUSTED, names_one_of_several, taught_pairs
from rpdr.schema import CANDIDATES

ZERO_SHOT, FROM_TEACHER = "zero_shot", "from_teacher"


def baselines(run: Run, progress: StageProgress) -> dict[str, Any]:
    """Rankings of the test and dev mentions by each baseline, as baselines/NAME.parquet; nothing unless `retriever.baselines` is set."""
    settings = run.config.retriever
    mentions = load_mentions(run.mentions_file, "labelled", "dev", "test") if settings.baselines else []
    asked = distinct_rows([m for m in mentions if m.split in ("test", "dev")])
    if not asked:
        return {"measured": False}
    concepts = load_kb(run.concepts_file)
    # those that the second round would believe
    trusted = pq.read_table(run.teacher_labels, filters=pc.field("trust") > TRUSTED).to_pylist()
    taught = taught_pairs(trusted, concepts, names_one_of_several(run.config))
    pairs = gold_pairs([m for m in mentions if m.split == "labelled"], concepts)
    like = [pair.anchor for pair in pairs]  # for as careful an index as those of the systems that it is measured beside

    def measure(name: str, encoder: Any) -> None:
        retriever = Retriever.build(encoder, concepts, settings.prefix, settings.index, like, settings.index_parts)
        ranked = add_candidates(retriever, pa.Table.from_pylist(asked), settings.top_k)
        write_table(run.path("baselines", f"{name}.parquet"), ranked, CANDIDATES)

    measure(ZERO_SHOT, load_encoder(settings.model, settings.max_tokens))
    if not taught:  # nothing of a teacher's
        return {"measured": True, "teacher_pairs": 0}
    if settings.rounds == 2 and (settings.aliases or settings.commonness):  # without either it is the second round itself, measured there
        measure(FROM_TEACHER, load_encoder(str(run.path(RETUNED, "retriever")), settings.max_tokens))
    elif settings.rounds == 1:
        measure(FROM_TEACHER, tuned_encoder(run, concepts, pairs + taught, progress, run.path("baselines", WORK, FROM_TEACHER)))
    return {"measured": True, "teacher_pairs": len(taught)}
