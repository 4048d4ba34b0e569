"""The licence of a base model, as its own metadata state it: a GGUF file, a model card, a Python package. What is not stated is not guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path
from typing import Any

import yaml

from rpdr.models import resolve

# names of licences that the hub knows (huggingface.co/docs/hub/repositories-licenses), of the kinds that models have
# fmt: off
HUB_IDS = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "cc-by-2.0",
    "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "gemma", "gpl-2.0", "gpl-3.0",
    "isc", "lgpl-2.1", "lgpl-3.0", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "mit", "mpl-2.0", "ms-pl", "ncsa", "odc-by",
    "ofl-1.1", "openrail", "osl-3.0", "other", "postgresql", "unknown", "unlicense", "wtfpl", "zlib",
})
# fmt: on
LONGEST = 60  # characters: a longer "licence" is the whole text of one


@dataclass(frozen=True)
class Licence:
    """What is stated: `licence`, e.g. apache-2.0 ("": nothing), and `by` what. `name` and `link` are of one that the hub has no name for;
    `hub_id` is what the base is called on the hub, where that is known."""

    licence: str = ""
    by: str = ""
    name: str = ""
    link: str = ""
    hub_id: str = ""


def licence_of(model: str) -> Licence:
    """Of a base model as a config names it. Of a hub name, its card is read (from the hub, if it can be reached). Raises ModelError where
    a local model is not there."""
    where = resolve(model)
    if isinstance(where, str):
        return _of_hub(where)
    stated = _of_gguf(where) if where.suffix == ".gguf" else _of_card(where / "README.md")
    if not stated.licence and model.startswith("package:"):
        package = _of_package(model.removeprefix("package:").split("/")[0])
        return Licence(package.licence, package.by, hub_id=stated.hub_id)
    return stated


def _of_gguf(path: Path) -> Licence:
    """`general.*` of a GGUF file."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    general = {name: str(fields[key].contents()) for name in GENERAL if (key := f"general.{name}") in fields}
    hub_id = general.get("source.huggingface.repository", "")
    for name in ("repo_url", "source.repo_url"):
        hub_id = hub_id or general.get(name, "").partition("https://huggingface.co/")[2]
    if "license" not in general:
        return Licence(hub_id=hub_id)
    return Licence(
        general["license"], "`general.license` of its GGUF file", general.get("license.name", ""), general.get("license.link", ""), hub_id
    )


GENERAL = ("license", "license.name", "license.link", "repo_url", "source.repo_url", "source.huggingface.repository")


def _of_card(path: Path, by: str = "the model card in its folder") -> Licence:
    """The YAML at the head of a README.md."""
    head = re.match(r"---\r?\n(.*?)\r?\n---", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL) if path.is_file() else None
    try:
        data = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        data = None
    return _stated(data if isinstance(data, dict) else {}, by)


def _of_hub(name: str) -> Licence:
    """A hub model's card: the copy on this machine, or one request to the hub."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    by = f"the model card of {name}"
    cached = try_to_load_from_cache(name, "README.md")
    try:
        stated = (
            _of_card(Path(cached), by) if isinstance(cached, str) else _stated(HfApi().model_info(name, timeout=10).card_data or {}, by)
        )
    except Exception:  # offline, gated, gone: then it is not known, which no run need end for
        stated = Licence()
    return Licence(stated.licence, stated.by, stated.name, stated.link, name)


def _stated(data: Any, by: str) -> Licence:
    """Of a model card's metadata."""
    said = data.get("license")
    licence = " or ".join(map(str, said)) if isinstance(said, list) else str(said or "")
    return Licence(licence, by, str(data.get("license_name") or ""), str(data.get("license_link") or "")) if licence else Licence()


def _of_package(package: str) -> Licence:
    """Of the installed distribution that has this Python package: its licence may be of the code alone, which is said."""
    for distribution in packages_distributions().get(package, []):
        try:
            found = metadata(distribution)
        except PackageNotFoundError:
            continue
        licence = next((found[name] for name in ("License-Expression", "License") if name in found), "")
        if licence and len(licence) <= LONGEST:
            return Licence(licence, f"the Python package {distribution} {found['Version']}, perhaps for its code alone")
    return Licence()
