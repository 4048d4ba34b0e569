"""The model card of a student, made from what its run has recorded: data, protocol, teacher, price, figures, limits, licence.

Never a mention's text: counts, names of sources and figures alone, each with the file of the run that it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

import rpdr
from rpdr import remote
from rpdr.config import Config, KbConfig, MentionsConfig, StudentConfig
from rpdr.evaluation.table import comparison_line
from rpdr.files import write_text
from rpdr.reranker.calibration import Calibration
from rpdr.reranker.licence import HUB_IDS, Licence, licence_of
from rpdr.reranker.prompt import learned_beginning
from rpdr.reranker.snippets import snippets
from rpdr.schema import SPLITS
from rpdr.sections import Section


@dataclass(frozen=True)
class Facts:
    """What a card is made from. `stages`: the summaries of the run's finished stages, by name. `metrics`: report/metrics.json, None where
    this student is not measured yet, and `results_table` its systems as Markdown. `base_model` and `languages`: what a run cannot know, the
    base's name on the hub and ISO 639 codes of the mentions."""

    config: Config
    stages: Mapping[str, Mapping[str, Any]]
    calibration: Calibration
    metrics: Mapping[str, Any] | None = None
    results_table: str = ""
    base_model: str = ""
    languages: tuple[str, ...] = field(default=())

    def stage(self, name: str) -> Mapping[str, Any]:
        """A stage's summary; empty where there is none."""
        return self.stages.get(name, {})


@dataclass(frozen=True)
class Merged:
    """Of an export: layers, fp32 or bf16, and the largest difference of its scores from the student's on `compared` made-up mentions."""

    layers: int
    precision: str
    difference: float
    compared: int


def write_card(folder: Path, facts: Facts, merged: Merged | None = None) -> None:
    """Write README.md: of the adapter in a run's student folder, or, with `merged`, of an export."""
    write_text(folder / "README.md", card(facts, licence_of(facts.config.student.model), merged, learned_beginning(folder)))


def card(facts: Facts, licence: Licence, merged: Merged | None = None, begin: Sequence[int] = ()) -> str:
    """The card as Markdown with YAML at its head, as the hub wants it. `begin`: the tokens before each mention."""
    head = yaml.safe_dump(_metadata(facts, licence, merged), sort_keys=False, allow_unicode=True)
    sections: dict[str, Callable[[], str]] = {
        "Use": lambda: snippets(facts.config, merged is not None, begin),
        "Data": lambda: _data(facts),
        "Training": lambda: _training(facts),
        "Teacher and price": lambda: _teacher(facts),
        "Figures": lambda: _figures(facts),
        "Calibration": lambda: _calibration(facts),
        "Limits": lambda: _limits(facts),
        "Licence": lambda: _licence(facts, licence),
    }
    body = "\n".join(f"## {title}\n\n{section().strip()}\n" for title, section in sections.items())
    return f"---\n{head}---\n\n# {_name(facts.config)}: a student of rpdr\n\n{_opening(facts, merged)}\n\n{body}"


def shown(path: str) -> str:
    """A path without the folders of the machine, or the place in an object store, that it is on."""
    local = path.startswith(("/", "~")) or remote.is_url(path)
    return f"…/{Path(remote.shown(path)).name}" if local else path


def _metadata(facts: Facts, licence: Licence, merged: Merged | None) -> dict[str, Any]:
    named = licence.licence.strip().lower()
    known = named in HUB_IDS
    base = facts.base_model or licence.hub_id
    adapter = merged is None and facts.config.student.tuning != "full"
    slug = re.sub(r"[^\w.-]+", "-", named)
    return {
        "license": (named if known else "other") if named else "unknown",
        **({"license_name": licence.name or slug} if named and (not known or licence.name) else {}),
        **({"license_link": licence.link} if licence.link else {}),
        **({"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"} if base else {}),
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-ranking",
        **({"language": list(facts.languages)} if facts.languages else {}),
        "tags": ["entity-linking", "biomedical", "reranking", "rpdr", *(["lora"] if adapter else [])],
    }


def _name(config: Config) -> str:
    return Path(config.run_dir).name


def _opening(facts: Facts, merged: Merged | None) -> str:
    student = facts.config.student
    base = f"`{facts.base_model or shown(student.model)}`" + (
        f", of which it is the first {student.layers} layers" if student.layers else ""
    )
    full = student.tuning == "full"
    if merged:
        how = "all its weights tuned" if full else "with its LoRA merged in"
        what = f"A re-ranker: {base}, {how} ({merged.precision}, {merged.layers} layers), and a scoring head (`head.safetensors`)."
    elif full:
        what = f"A re-ranker: {base}, all its weights tuned, and a scoring head (`head.safetensors`)."
    else:
        what = f"A re-ranker: a LoRA adapter (`adapter_model.safetensors`) and a scoring head (`head.safetensors`) over {base}."
    text = (
        f'{what} It ranks the candidate concepts of a biomedical mention in one forward pass, with "none of these" among them, and adds '
        f"to the similarity by which the run's retriever found them. Made by rpdr {rpdr.__version__}, after [RPDR](https://arxiv.org/abs/2505.19722), from "
        f"the run `{_name(facts.config)}`; each section names the files of the run that its figures come from."
    )
    if merged:
        text += (
            f" On {merged.compared} made-up mentions its scores differ by at most {merged.difference:.1e} from those of the run's student with "
            f"{'' if full else 'its adapter beside the base '}(measured in this precision on a CPU, when it was exported)."
        )
    return text


def _data(facts: Facts) -> str:
    prepared, config = facts.stage("prepare"), facts.config
    splits = prepared.get("splits", {})
    counts = ", ".join(f"{splits[name]:,} {name}" for name in SPLITS if name in splits) or "unknown"
    lines = [
        f"- Knowledge base: {_kb(config.kb)}; {_count(prepared.get('concepts'))} concepts, {_count(prepared.get('names'))} names.",
        *(f"- Mentions: {_source(source)}." for source in config.mentions),
        f"- Mentions by split: {counts}; rows set aside: {_count(prepared.get('rejects'))}.",
        f"- Data policy of the run: `{config.data_policy}`. Languages: {', '.join(facts.languages) or 'not stated'}.",
    ]
    splits_are = (
        "Labelled mentions tune the retriever, unlabelled ones are the teacher's, dev calibrates, test measures, corpus is only linked."
    )
    return "\n".join([*lines, f"\nFrom the run's `config.yaml` and `.stages/prepare.json`. {splits_are}"])


# how a file is read, not what is taken from it
HOW_READ = {"format", "path", "encoding", "columns", "header", "separator", "synonym_separator", "kb"}


def _kb(kb: KbConfig) -> str:
    return f"`{shown(kb.path)}` ({'; '.join([kb.format, *_settings(kb, HOW_READ)])})"


def _source(source: MentionsConfig) -> str:
    where = f"names of {_kb(source.kb)}" if source.kb else f"`{shown(source.path)}` ({source.format})"
    settings = _settings(source, HOW_READ)
    by_default = not any(setting.startswith("split") for setting in settings)
    return "; ".join([where, *([f"split: {source.split}"] if by_default else []), *settings])


def _settings(section: Section, without: set[str]) -> list[str]:
    """What a section of the config sets to other than its default, as it stands there."""
    return [
        f"{name}: {_value(value)}" for name, value in section.model_dump(mode="json", exclude_defaults=True).items() if name not in without
    ]


def _value(value: Any) -> str:
    return (
        shown(value)
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1_000).removesuffix("...\n").strip()
    )


# told in _training, or of the machine alone
TOLD = {
    *("model", "layers", "tuning", "lora_rank", "lora_alpha", "lora_dropout", "lora_layers"),
    *("epochs", "batch_size", "learning_rate", "head_learning_rate"),
    *("train_candidates", "max_tokens_mention", "max_tokens_candidate", "use_context", "precision"),
    *("micro_batch_tokens", "workers", "threads_per_worker", "use_gpu", "zero_stage", "checkpoint_every_steps"),
}


def _tuned(student: StudentConfig) -> str:
    if student.tuning == "full":
        return "All weights tuned"
    base = "LoRA over a base in 4 bits (QLoRA)" if student.tuning == "qlora" else "LoRA"
    where = f"the last {student.lora_layers} layers" if student.lora_layers else "all layers"
    return f"{base}: rank {student.lora_rank}, alpha {student.lora_alpha}, dropout {student.lora_dropout:g}, on {where}"


def _training(facts: Facts) -> str:
    trained, student, retriever = facts.stage("distill"), facts.config.student, facts.config.retriever
    again = facts.stage("retune")
    loss, held_out = trained.get("final_loss"), trained.get("held_out_losses")
    learned = f"the chosen one and the {student.train_candidates - 1} most similar others" if student.train_candidates else "all of them"
    more = _settings(student, TOLD)
    chosen = f'{_count(trained.get("labels"))} of the teacher\'s choices, {_count(trained.get("none_labels"))} of them "none of these"'
    by_hand = f"{_count(trained.get('gold_labels'))} labelled mentions"
    labels = [told for told, there in ((chosen, trained.get("labels", 1)), (by_hand, trained.get("gold_labels"))) if there]
    lines = [
        f"Candidates: {retriever.top_k} a mention, from `{shown(retriever.model)}`, tuned for {retriever.epochs} epochs on "
        f"{_count(facts.stage('retriever').get('labelled_pairs'))} labelled mentions and on synonyms"
        + (", and once more" if again.get("tuned") else "")
        + (f" with {again['teacher_pairs']:,} of the teacher's labels" if again.get("teacher_pairs") else "")
        + (
            f"; {again['aliases']:,} linked mentions are names of their concepts, at a discount of {again['alias_discount']:g}"
            if again.get("aliases")
            else ""
        )
        + ("; what is commonly meant counts" if again.get("commonness") else "")
        + ".",
        f"Labels: {' and '.join(labels)}; candidates learned from: {learned}.",
        f"{_tuned(student)}; learning rate {student.learning_rate:g}, of the head {student.head_learning_rate:g}.",
        f"Steps: {_count(trained.get('steps'))}"
        + (
            f" ({trained['steps_skipped']:,} of which changed nothing, as gradients were no numbers)"
            if trained.get("steps_skipped")
            else ""
        )
        + f" of {student.batch_size} mentions, {student.epochs} epochs at most, in "
        f"{trained.get('precision', 'unknown precision')}; final loss {'unknown' if loss is None else f'{loss:.3f} nats'}"
        + (f", on dev after each epoch {', '.join(f'{value:.3f}' for value in held_out)}" if held_out else "")
        + f"; {_minutes(trained.get('training_s'))}.",
        f"Read: at most {student.max_tokens_mention} tokens of a mention{' and its context' if student.use_context else ' (its context is not read)'}, "
        f"{student.max_tokens_candidate} of a candidate. Seed {facts.config.seed}.",
        *([f"Also set: {', '.join(f'`{setting}`' for setting in more)}."] if more else []),
    ]
    source = "From the run's `config.yaml`, `.stages/retriever.json` and `.stages/distill.json`."
    return "\n".join([*(f"- {line}" for line in lines), "", source])


def _teacher(facts: Facts) -> str:
    taught, settings = facts.stage("teach"), facts.config.teacher
    if _nobody_asked(facts):
        return "No teacher was asked: it learned from labelled mentions alone."
    simulated = taught.get("simulated", settings.simulated)
    who = f"`{settings.model}`" + (
        ", **simulated**: it knows the answers of its pool and errs at a set rate" if simulated else ", a real endpoint"
    )
    spent, requests = taught.get("spent_usd"), taught.get("requests")
    price = "unknown" if spent is None else f"${spent:.4f} of a budget of ${taught.get('budget_usd', settings.budget_usd):.2f}"
    tokens = f"{_count(taught.get('prompt_tokens'))} prompt tokens, {_count(taught.get('completion_tokens'))} of answers"
    what = "; what a small priced LLM would have taken, nothing was paid" if simulated else ""
    return f"""\
- Teacher: {who}. It was asked about {_count(_asked(taught))} unlabelled mentions, answers a mention at most: {settings.votes}.
- Labels: {_count(taught.get("labelled"))}, {_count(taught.get("none"))} of them "none of these".
- Price: {price} for {_count(requests)} requests ({tokens}){what}. Linking with the student asks no teacher.
- Right on its own pool: {_accuracy(facts)}.{_believed(facts)}

From the run's `.stages/teach.json`, whose prices are its ledger's, and `report/metrics.json`."""


def _nobody_asked(facts: Facts) -> bool:
    return facts.stage("teach").get("model", "") is None


def _asked(taught: Mapping[str, Any]) -> int | None:
    """How many mentions were asked about, which the budget may have ended before the pool was."""
    counts = [taught[name] for name in ("labelled", "invalid", "failed") if name in taught]
    return sum(counts) if len(counts) == 3 else None


def _accuracy(facts: Facts) -> str:
    if facts.metrics is None:
        return "not measured yet (`rpdr report` does)"
    system = next((s for s in facts.metrics["systems"] if s["name"].startswith("Teacher")), None)
    if system is None:
        return "not known: the run has no gold for the mentions that it labelled"
    score, agreement = system["acc_at_1"], facts.metrics.get("teacher", {}).get("agreement_with_gold")
    told = f"Acc@1 {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}] over {system['mentions']:,} mentions"
    return told + (
        f"; {agreement:.3f} of its labels right, 'none of these' among them where no candidate was" if agreement is not None else ""
    )


def _believed(facts: Facts) -> str:
    """How right the teacher is believed to be where there is no gold."""
    taught = facts.stage("teach")
    share, by = taught.get("believed_accuracy"), taught.get("believed_by", {})
    if share is None:
        return ""
    return f" Estimated without gold of the pool, from its agreement with the retriever (fitted on {by.get('fitted_on', 'unknown')}): {share:.3f} of its labels."


def _figures(facts: Facts) -> str:
    if facts.metrics is None:
        return "Not measured yet: `rpdr link` and `rpdr report` measure it, and the card that `rpdr export` then writes has the figures."
    if not facts.metrics["systems"]:
        return "Not measured: the run has no test mentions with gold."
    compared = [f"- {comparison_line(row)}" for row in facts.metrics["comparison"]]
    machine = facts.metrics.get("machine", {})
    where = f"{machine.get('cpu')}, {machine.get('cores')} cores" + (f", {machine['gpu']}" if machine.get("gpu") else "")
    simulated = (
        "\nThe teacher is **simulated**: what it taught is no measure of a real one.\n" if facts.metrics.get("simulated_teacher") else ""
    )
    return (
        f"{facts.results_table.strip()}\n\n{chr(10).join(compared)}\n{simulated}\nProtocol. {facts.metrics['protocol']}\n\n"
        f"From the run's `report/metrics.json` of {facts.metrics.get('created_at', 'an unknown day')}, measured on {where}."
    )


def _calibration(facts: Facts) -> str:
    fitted = {name: value for name, value in asdict(facts.calibration).items() if not name.startswith("dev_")}  # a value a dev mention
    fitted_on = fitted.pop("fitted_on")
    values = ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in fitted.items())
    measured = (facts.metrics or {}).get("calibration")
    error = f"{measured['ece']:.3f} on the test mentions (`report/metrics.json`)" if measured else "not measured yet"
    fit = (
        f"Fitted on {fitted_on}"
        if fitted_on != "nothing"
        else "Not fitted (fewer than 20 different dev mentions): confidences are the plain softmax"
    )
    balance = facts.stage("distill").get("balance")
    if balance:
        values += (
            f"; before that, in the head itself, what training made of the retriever's similarity times {balance['similarity']:.2f} and of what was "
            f"learned times {balance['learned']:.2f}"
        )
    return f"{fit}: {values} (`calibration.json`). Expected calibration error: {error}."


def _limits(facts: Facts) -> str:
    config, taught = facts.config, facts.stage("teach")
    limits = [
        f"It orders what its retriever finds: a concept that is not among the {config.final_top_k} candidates cannot be its answer. Its scores "
        "presuppose that retriever's similarities as `Retriever.retrieve` gives them, with the run's encoder, aliases and commonness, which may pass 1; with "
        "another's they mean something else.",
        *(
            ["It repeats its teacher's errors." + (" This one was simulated." if taught.get("simulated") else "")]
            if taught.get("labelled", 1)
            else []
        ),
        "Its confidences hold for mentions like those that it was calibrated on; it is measured on the data above alone. Other knowledge bases, "
        "languages, specialties and kinds of text are not.",
        'Whether a concept is missing from the knowledge base it says by "none of these", which is often a miss of the retriever.'
        if config.link.allow_nil
        else 'It was calibrated for data in which every mention has a concept (`link.allow_nil: false`): "none of these" is no answer of it.',
        "It is no text generator: the base's output layer is as it was"
        + (f", after {config.student.layers} layers, whose output it does not fit." if config.student.layers else ", its layers are not."),
        f"Its weights were trained on text under the data policy `{config.data_policy}`, and weights can keep traces of what they learned"
        + ("." if config.data_policy == "public" else ": who may have them is for the owner of that text to say."),
        "Out of scope: diagnosis, treatment, triage, billing or any decision about a person without a person's judgement; finding out who wrote or "
        "is meant in a text. It is not a medical device.",
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _licence(facts: Facts, licence: Licence) -> str:
    base = f"`{facts.base_model or shown(facts.config.student.model)}`"
    if licence.licence:
        link = f" ({licence.link})" if licence.link else ""
        stated = (
            f"The base {base} is under **{licence.licence}**{link}, says {licence.by}. What that asks of derived weights holds for these."
        )
    else:
        stated = f"The licence of the base {base} is not stated in its metadata: ask the base's owner."
    teacher = "" if _nobody_asked(facts) else " and of the teacher's endpoint"
    return f"{stated} The terms of the data{teacher} are not known to rpdr; they may restrict these weights too."


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def _minutes(seconds: Any) -> str:
    return f"{seconds / 60:,.0f} minutes" if isinstance(seconds, int | float) else "an unknown time"
