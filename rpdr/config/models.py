"""The two models that run here: the retriever and the student."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from rpdr.config.values import Actors
from rpdr.sections import Section


class RetrieverConfig(Section):
    """Bi-encoder, its fine-tuning and its index."""

    model: str = Field(
        "cambridgeltl/SapBERT-from-PubMedBERT-fulltext-mean-token",
        description="hub name, folder, or package:NAME/path; of a checkpoint that no sentence-transformers wrote the mean of its tokens is taken, so name one that "
        "was trained for that",
    )
    prefix: str = Field("", description="put before every text, e.g. 'query: ' for E5")
    top_k: int = Field(10, ge=2, le=100, description="candidates a mention")
    epochs: int = Field(5, ge=0, description="0: use the model as it comes")
    batch_size: int = Field(64, ge=2, description="pairs a step, each the others' negatives")
    learning_rate: float = Field(5e-5, gt=0, description="of its tuning")
    max_synonym_pairs: int = Field(
        5000,
        ge=0,
        description="synonym pairs of the knowledge base per epoch, beside all labelled mentions; in the second round no more than there are of those",
    )
    max_tokens: int = Field(32, ge=4, description="tokens of a text that are read")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="of its tuning; auto: bf16 where the device computes in it, else fp32. Texts are always encoded in fp32"
    )
    rounds: Literal[1, 2] = Field(
        2,
        description="2: go on tuning it, on the teacher's labels too, and let the student re-rank what that finds; three tunings on fewer pairs, which 1 saves",
    )
    labelled_names: bool = Field(
        True,
        description="mentions of the split `labelled` are further names of their concepts, and tell what is commonly meant, when candidates are looked for "
        "that the teacher chooses from: where dev shows that more is found so",
    )
    aliases: bool = Field(
        True,
        description="linked mentions are further names of their concepts when the student looks for candidates: those of the split `labelled`, and "
        "the teacher's that are more probably right than not; their similarity counts less, by as much as does best on dev",
    )
    commonness: bool = Field(
        True,
        description="with aliases or a second round: how often concepts were meant, and the same text meant them, counts in what the student looks "
        "through; how much, is fitted on dev",
    )
    baselines: bool = Field(
        False, description="also measure the encoder untuned, and tuned on the teacher's labels too: what a student must beat"
    )
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        "auto",
        description="flat: exact; ivf: searches lists of like names, as many as find 99 % of what exact search finds for the labelled mentions; "
        "hnsw: a graph, faster and larger; auto: flat up to 100,000 names, then ivf",
    )
    index_parts: int = Field(
        1,
        ge=1,
        description="in how many files the index keeps its vectors: where they do not fit one node, as many as it takes. Of several, one is built at a "
        "time, and each is held and searched by a process of its own, as far apart as there are nodes (resources.indexing). Read when the index is made: "
        "of a finished run, rpdr retriever --redo and, where there is a second round, rpdr retune --redo",
    )

    @property
    def second_round(self) -> bool:
        """Whether the student re-ranks what a retriever found that has learned from the teacher."""
        return self.aliases or self.rounds == 2


class StudentConfig(Section):
    """The open LLM that re-ranks: base model, LoRA, training, scoring."""

    model: str = Field("Qwen/Qwen3-0.6B", description="hub name, folder, or package:NAME/file.gguf")
    layers: int = Field(0, ge=0, description="use the first N layers of the base model alone; 0: all. Half the layers take half the time")
    tuning: Literal["lora", "qlora", "full"] = Field(
        "lora",
        description="lora: adapters over the base model; qlora: over the base in 4 bits, a quarter of the memory (pip install '.[qlora]'); "
        "full: all weights, kept as a whole model; wants a learning_rate of about 2e-5",
    )
    lora_rank: int = Field(16, ge=1, description="of an adapter")
    lora_alpha: int = Field(32, ge=1, description="what an adapter adds counts alpha / rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="share of what an adapter reads that is left out of a step")
    lora_layers: int = Field(0, ge=0, description="adapt only the last N layers; 0: all. Fewer is faster")
    epochs: int = Field(2, ge=1, description="over all labels")
    batch_size: int = Field(16, ge=1, description="mentions a step, over all workers")
    micro_batch_tokens: int = Field(2048, ge=64, description="tokens a forward pass of one worker, padding too: what fits its memory")
    learning_rate: float = Field(2e-4, gt=0, description="of the adapters")
    head_learning_rate: float = Field(2e-3, gt=0, description="of the scoring head: new weights learn faster than adapted ones")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate grows")
    max_labels: int = Field(0, ge=0, description="train on at most this many labels, in the order of teacher.choose; 0: all")
    train_candidates: int = Field(
        0,
        ge=0,
        description="train on the chosen candidate and the most similar others, so many in all; 0: all. Half of them take half the time",
    )
    min_trust: float = Field(0.5, ge=0, lt=1, description="leave labels out that are less probably right: the column `trust` of the labels")
    soft_labels: bool = Field(
        True, description="believe a label as far as it is trusted; the rest of its probability stays where the retriever had it"
    )
    gold_labels: bool = Field(
        False,
        description="train on the labelled mentions too, beside the teacher's labels, or, where nobody is asked (teacher.max_mentions: 0), on them alone. With "
        "retriever.rounds: 2 the second round tunes two encoders anew, each on half of them, to meet the other half as new; without, they look easier than they are",
    )
    early_stop: bool = Field(
        False, description="measure on dev after each epoch, keep the best epoch's student, and stop after an epoch that brought nothing"
    )
    max_tokens_mention: int = Field(48, ge=8, description="of a mention, its context with it")
    max_tokens_candidate: int = Field(48, ge=4, description="of a longer one the beginning and the end are read; short ones cost no more")
    use_context: bool = Field(
        False,
        description="read the sentence that a mention stands in too; a phrase is then linked once a sentence, else once. The teacher reads it either way, "
        "unless the source has `leave_out: [context]`",
    )
    none_reads: Literal["candidates", "mention"] = Field(
        "candidates",
        description='what "none of these" is judged by: candidates: the mention and all candidates; mention: the mention alone, as link.engine: '
        "vllm needs it",
    )
    workers: Actors = Field(
        1,
        description="training processes, at most one a GPU; without a GPU one a core is about twice as fast as one of many threads. [least, most]: as many "
        "as there is room for; one whose machine is lost is not waited for, and training goes on from its last checkpoint with those that are left. Not with "
        "resources.training.labels",
    )
    threads_per_worker: int = Field(0, ge=0, description="CPU threads a training worker; 0: all CPUs divided by the most workers")
    use_gpu: bool | None = Field(None, description="null: if the cluster has GPUs")
    zero_stage: Literal[0, 1, 2, 3] = Field(
        1,
        description="what DeepSpeed spreads over the workers: from 1 on the optimizer, 2 gradients, 3 weights too; each loads the whole model first",
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="auto: bf16 where the device computes in it, else fp32; name one for equal scores on unequal machines"
    )
    checkpoint_every_steps: int = Field(50, ge=1, description="a worker that is lost costs no more")

    @pydantic.field_validator("train_candidates")
    @classmethod
    def _something_to_choose_from(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one candidate leaves nothing to choose from; 0 (all), or at least 2")
        return value
