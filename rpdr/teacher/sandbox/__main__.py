"""The sandbox teacher alone, so that it outlives a client that is killed:

python -m rpdr.teacher.sandbox --answers FILE.json --port-file PATH  (--help shows the rest)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from dataclasses import fields
from pathlib import Path

from rpdr.config import SandboxConfig
from rpdr.corpus.normalise import normalise
from rpdr.files import read_text, write_text
from rpdr.teacher.sandbox.server import SandboxServer
from rpdr.teacher.sandbox.teacher import SandboxTeacher
from rpdr.teacher.sandbox.terms import Faults, Terms


def main() -> None:
    """Serve until SIGTERM, SIGINT or the end of --seconds."""
    parser = argparse.ArgumentParser(description="the sandbox teacher: a simulated LLM over HTTP", allow_abbrev=False)
    parser.add_argument("--answers", type=Path, required=True, help="JSON: mention text -> names of its right concepts, [] for none")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--port-file", type=Path, help="where to write the port, once it listens")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop by itself after so long; 0: never")
    parser.add_argument("--seed", type=int, default=13)
    for name, info in SandboxConfig.model_fields.items():
        parser.add_argument(_flag(name.removesuffix("_s")), dest=name, type=float, default=info.default, help=info.description)
    for entry in (*fields(Faults), *fields(Terms)):
        names = {"requests_per_minute": ["--rpm"]}.get(entry.name, [])
        if isinstance(entry.default, bool):
            parser.add_argument(_flag(entry.name), action="store_true")
        elif isinstance(entry.default, frozenset):
            parser.add_argument(_flag(entry.name), type=_names, default=entry.default, help="with commas between")
        else:
            parser.add_argument(_flag(entry.name), *names, dest=entry.name, type=type(entry.default), default=entry.default)
    given = vars(parser.parse_args())
    try:
        answers = {normalise(text): names for text, names in json.loads(read_text(given["answers"])).items()}
    except (OSError, ValueError, AttributeError) as wrong:
        parser.error(f"--answers {given['answers']}: {wrong}")
    config = SandboxConfig(**{name: given[name] for name in SandboxConfig.model_fields})
    faults = Faults(**{entry.name: given[entry.name] for entry in fields(Faults)})
    terms = Terms(**{entry.name: given[entry.name] for entry in fields(Terms)})
    server = SandboxServer(SandboxTeacher(answers, config, given["seed"]), faults, terms)
    asyncio.run(_serve(server, given["port"], given["port_file"], given["seconds"]))


async def _serve(server: SandboxServer, port: int, port_file: Path | None, seconds: float) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    url = await server.start(port)
    if port_file:
        write_text(port_file, url.split(":")[2].split("/")[0])
    print(url, flush=True)
    try:
        await asyncio.wait_for(stopped.wait(), seconds or None)
    except TimeoutError:
        pass
    finally:
        await server.stop()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _names(text: str) -> frozenset[str]:
    return frozenset(name for name in text.split(",") if name)


if __name__ == "__main__":
    main()
