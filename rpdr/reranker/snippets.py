"""Python for a model card: how a student is loaded by rpdr, and by transformers and peft alone. Each block runs as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rpdr.config import Config

WITH_RPDR_ADAPTER = """\
```python
from rpdr import Linker

for link in Linker.load("{run}").link(["can't keep food down"]):
    print(link.text, link.concept_id, link.name, link.confidence)
```"""

WITH_RPDR_EXPORT = """\
```python
from rpdr.reranker import Query, Reranker

reranker = Reranker.load(".")  # this folder
query = Query(
    text="can't keep food down",
    candidate_names=("Vomiting", "Dysphagia", "Nausea"),
    matched_names=("Vomiting", "Dysphagia", "feeling sick"),  # the name or synonym that the retriever found
    similarities=(0.62, 0.55, 0.51),  # as the run's Retriever.retrieve gives them
)
probabilities = reranker.probabilities([query])  # of each candidate, then of "none of these"
[best], [nil], [confidence] = reranker.calibration.decide(probabilities, allow_nil={allow_nil})
print("none of these" if nil else query.candidate_names[best], confidence)
```"""

MERGED = """\
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
body, head = model.model, load_file(f"{FOLDER}/head.safetensors")
"""

ADAPTER = """\
{imports}

ADAPTER = "{adapter}"  # {comment}
{base}
tokenizer = AutoTokenizer.from_pretrained({arguments})
base = AutoModelForCausalLM.from_pretrained({arguments}, dtype=torch.float32{quantized})
{cut}model = PeftModel.from_pretrained(base, ADAPTER)
body, head = model.get_base_model().model, load_file(f"{{ADAPTER}}/head.safetensors")
"""

SCORE = '''\


def encode(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def branch(candidate):
    ids, end = encode(f"\\n- {{candidate}}"), encode("\\n")
    most = {candidate_tokens} - len(end)  # of a long name the beginning and the end are read
    return ids[: most - most // 2] + ids[max(most - most // 2, len(ids) - most // 2) :] + end


@torch.inference_mode()
def score(mention, candidate, similarity):
    """Of one candidate, "name" or "name (synonym that was found)"; similarity: as the run's Retriever.retrieve gives it. The highest is best."""
{context}    ids = {begin}encode(f"Mention: {{mention}}")[:{mention_tokens}] + branch(candidate)
    hidden = body(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    return float(head["candidate.weight"][0] @ hidden + head["log_scale"].exp() * similarity)


print(score("can't keep food down", "Vomiting", 0.62))
'''


def snippets(config: Config, merged: bool, begin: Sequence[int] = ()) -> str:
    """The section of a card: of an export, or of the adapter in a run's student folder. `begin`: the tokens before each mention."""
    run = Path(config.run_dir).name if Path(config.run_dir).is_absolute() else config.run_dir
    full, four_bit = config.student.tuning == "full", config.student.tuning == "qlora"
    with_rpdr = WITH_RPDR_EXPORT.format(allow_nil=config.link.allow_nil) if merged else WITH_RPDR_ADAPTER.format(run=run)
    score = SCORE.format(
        begin=f"{[*begin]} + " if begin else "",
        mention_tokens=config.student.max_tokens_mention,
        candidate_tokens=config.student.max_tokens_candidate,
        context='    # a mention with its context is "mention\\nContext: the context"\n' if config.student.use_context else "",
    )
    without = [("transformers alone", MERGED + score)] if merged or full else []
    if not full:
        where = (f"{run}/student", "of the run") if merged else (".", "this folder")
        adapter = _adapter(config.student.model, config.student.layers, *where, quantized=four_bit)
        without.append(("transformers and peft, from the adapter", adapter + ("" if merged else score)))
    of_gguf = ", also from a GGUF file, which `save_pretrained` does not" if config.student.model.endswith(".gguf") else ""
    plain = "\n\n".join(f"With {title}:\n\n```python\n{code}```" for title, code in without)
    return f"With rpdr:\n\n{with_rpdr}\n\n{plain}\n\n{ONE_AT_A_TIME}." + (
        "" if full else f" {EXPORTED if four_bit else IN_MEMORY}{of_gguf}."
    )


ONE_AT_A_TIME = (
    '`score` reads one candidate at a time, and no "none of these"; rpdr reads all of them in one pass, and gives calibrated probabilities'
)
# as models.load_causal_lm loads the base of QLoRA
QUANTIZED = ', quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)'
IN_MEMORY = "`model.merge_and_unload()` merges the adapter in memory; `rpdr export` writes it merged, as one folder"
EXPORTED = "`rpdr export` writes it merged, as one folder, into the base as it was quantized"


def _adapter(model: str, layers: int, adapter: str, comment: str, quantized: bool) -> str:
    """The lines that load the base, wherever it is, and the adapter over it."""
    imports = [
        "from peft import PeftModel",
        "from safetensors.torch import load_file",
        f"from transformers import AutoModelForCausalLM, AutoTokenizer{', BitsAndBytesConfig' if quantized else ''}",
    ]
    standard: list[str] = []
    gguf = model.endswith(".gguf")
    if model.startswith("package:"):
        package, _, rest = model.removeprefix("package:").partition("/")
        standard = ["from importlib.util import find_spec", "from pathlib import Path"]
        base = f'BASE = Path(find_spec("{package}").submodule_search_locations[0], "{rest}")  # in the Python package {package}'
    elif model.startswith(("/", "./", "../", "~", "${")) or gguf:
        standard = ["import os", "from pathlib import Path"]
        imports[0] = "from peft import PeftConfig, PeftModel"
        base = (
            "named = PeftConfig.from_pretrained(ADAPTER).base_model_name_or_path  # a path on the machine that trained it\n"
            "BASE = Path(os.path.expandvars(named)).expanduser()"
        )
    else:
        base = f'BASE = "{model}"'
    arguments = "BASE.parent, gguf_file=BASE.name" if gguf else "BASE"
    cut = (
        f"base.model.layers = base.model.layers[:{layers}]  # the student is these alone\nbase.config.num_hidden_layers = {layers}\n"
        if layers
        else ""
    )
    return ADAPTER.format(
        imports="\n".join([*standard, *([""] if standard else []), "import torch", *imports]),
        adapter=adapter,
        comment=comment,
        base=base,
        arguments=arguments,
        quantized=QUANTIZED if quantized else "",
        cut=cut,
    )
