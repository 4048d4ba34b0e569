"""`rpdr …`: the stages of a run from a terminal, the whole loop, `ask` for a few phrases, and jobs on a cluster. Errors become one line and exit code 2."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import yaml

import rpdr
from rpdr import cli_cluster, cli_plan
from rpdr.cli_cluster import take_config
from rpdr.errors import ConfigError, RpdrError
from rpdr.files import read_json, unusable
from rpdr.show import in_one_line, visible

if TYPE_CHECKING:
    from rich.table import Table

    from rpdr.config import Config
    from rpdr.linker import Link

STAGE_HELP = {
    "prepare": "read the knowledge base and the mentions",
    "retriever": "tune the retriever on few labels, index all names",
    "candidates": "retrieve candidates for every distinct mention but the corpus's",
    "teach": "have the teacher label unlabelled mentions, under a budget",
    "retune": "let the retriever learn from the labels too",
    "baselines": "measure the retriever untuned, and tuned on the teacher's labels",
    "distill": "train the student on the teacher's labels",
    "link": "link the test mentions and the corpus",
    "report": "measure, and write the report",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 something that the user can mend, 130 interrupted."""
    _quieten()
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except RpdrError as error:
        sys.stderr.write(f"error: {visible(in_one_line(error, 0))}\n")  # an endpoint's words, and a file's name, are anybody's
        return 2
    except OSError as error:  # what no reader or writer has put into words
        if not (why := unusable(error)):
            raise
        sys.stderr.write(f"error: {visible(why)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; start it again to go on from here\n")
        return 130
    finally:
        _leave_ray()


def run_stage(name: str, arguments: Sequence[str] | None = None) -> int:
    """What jobs/NAME.py runs: the stage alone."""
    return main([name, *(sys.argv[1:] if arguments is None else arguments)])


def _quieten() -> None:
    """What libraries print of their own accord hides what rpdr says. Read at their import, so set before."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if shutil.which("nvidia-smi") is None:
        quiet["DS_ACCELERATOR"] = "cpu"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


class _Parser(argparse.ArgumentParser):
    """Names the nearest command where there is none of a name."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if unknown:
            near = difflib.get_close_matches(unknown[1], re.findall(r"\w+", unknown[2]), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "rpdr --help lists them"
            message = f"no command {unknown[1]!r}; {hint}"
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="rpdr", description="Link biomedical mentions to the concepts of a knowledge base.")
    parser.add_argument("--version", action="version", version=f"rpdr {rpdr.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stages = {"run_all": "all stages, in order", **STAGE_HELP}
    for name, text in stages.items():
        command = commands.add_parser(name, help=text, description=text)
        take_config(command)
        command.add_argument(
            "--redo",
            action="store_true",
            help="throw a stage's results away and make them again (run_all: those made from other inputs); never the ledger",
        )
        if name == "link":
            command.add_argument("--corpus", metavar="NAME", help="link this one of the config's `corpora` instead, into corpora/NAME/")
        command.set_defaults(run=_run, stages=None if name == "run_all" else [name], corpus=None)
    text = "what teach will cost: requests, tokens, dollars and hours, by the prompts that it would send; asks nothing"
    command = commands.add_parser("estimate", help=text, description=text)
    take_config(command)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_estimate)
    text = "write the student as one Hugging Face directory: merged into its base, with a model card"
    command = commands.add_parser("export", help=text, description=text)
    take_config(command)
    command.add_argument("--to", metavar="DIR", help="an earlier export or nothing must be there; default: export/ in the run directory")
    command.add_argument("--precision", choices=["bf16", "fp32"], default="", help="of its weights; default: as it was trained")
    command.add_argument(
        "--base-model", default="", metavar="NAME", help="for the card: the base's name on the hub, where the config has another"
    )
    command.add_argument(
        "--language", action="append", default=[], metavar="CODE", help="for the card: of the mentions, e.g. en; repeat it for more"
    )
    command.set_defaults(run=_export)
    command = commands.add_parser(
        "ask", help="link a few phrases with a finished run", description="link a few phrases with a finished run"
    )
    command.add_argument("run_dir", help="e.g. runs/quickstart")
    command.add_argument("text", nargs="+")
    command.set_defaults(run=_ask)
    cli_plan.add_commands(commands, _config)
    cli_cluster.add_commands(commands, {**stages, "calibrate": cli_plan.CALIBRATE}, _config)
    return parser


def _config(options: argparse.Namespace) -> Config:
    from rpdr.config import load

    return load(options.config, dict(_override(text) for text in options.set))


def _run(options: argparse.Namespace) -> int:
    from rpdr.evaluation.table import results_table
    from rpdr.pipeline.stages import STAGES, console, link_corpus, run_stages
    from rpdr.run import linking

    config = _config(options)
    if options.corpus is not None:
        run = link_corpus(config, options.corpus, options.redo)
        console.print(f"Linked: {run.summary(linking(options.corpus).name)['output']}", soft_wrap=True, markup=False)
        return 0
    stages = options.stages or list(STAGES)
    run = run_stages(config, stages, options.redo)
    if "report" in stages:
        metrics = read_json(run.path("report", "metrics.json"))
        console.print()
        console.print(results_table(metrics["systems"]))
        if metrics["simulated_teacher"]:
            console.print("[dim]The teacher is simulated: it knows the answers of its pool and errs at a set rate.[/dim]")
        console.print(f"Report: {run.path('report', 'index.html')}", soft_wrap=True, markup=False)
    return 0


def _estimate(options: argparse.Namespace) -> int:
    from rich.console import Console

    from rpdr.pipeline.forecast.estimate import estimate_of, estimate_table, in_words
    from rpdr.run import Run

    made = estimate_of(Run(_config(options)))
    if options.json:
        sys.stdout.write(json.dumps(made.as_dict(), indent=2, ensure_ascii=False) + "\n")
        return 0
    console = Console()
    console.print(estimate_table(made))
    for line in in_words(made):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return 0


def _export(options: argparse.Namespace) -> int:
    from rich.console import Console

    from rpdr.pipeline.export import export_run

    config = _config(options)
    folder, merged = export_run(config, options.to, options.precision, options.base_model, tuple(options.language))
    console = Console()
    console.print(f"{merged.layers} layers in {merged.precision}; scores differ from the student's by at most {merged.difference:.1e}")
    console.print(f"Export: {folder}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _ask(options: argparse.Namespace) -> int:
    from rich.console import Console

    from rpdr.corpus.normalise import clean
    from rpdr.linker import Linker

    if not all(clean(text) for text in options.text):
        raise RpdrError('ask: an empty phrase: there is nothing to link; write each in quotes, e.g. "throwing up"')
    warnings.filterwarnings("ignore", message="dev cannot show link.target_precision")  # it is told below, in one line
    linker = Linker.load(options.run_dir)
    if linker.warning:
        sys.stderr.write(f"note: {linker.warning}\n")
    Console().print(_answers(linker.link(options.text)))
    return 0


def _answers(links: Sequence[Link]) -> Table:
    """A row a phrase. What a user or a knowledge base wrote may hold what a terminal obeys, or what rich reads as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table("Mention", "Id", "Concept", "Confidence")
    for link in links:
        silent = ("abstained; perhaps " if link.abstained else "") + (link.guess or "not in the knowledge base")
        row = (link.text, " + ".join(link.concept_ids) or "—", " + ".join(link.names) or silent, f"{link.confidence:.2f}")
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def _override(text: str) -> tuple[str, object]:
    from rpdr.sections import Loader

    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: expected KEY=VALUE, e.g. --set student.epochs=1")
    try:
        return key, yaml.load(value, Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {text}: {value!r} is not a YAML value; expected KEY=VALUE, e.g. --set student.epochs=1") from error


def _leave_ray() -> None:
    """A Ray that this process started ends with it, at once."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
