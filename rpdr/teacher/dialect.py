"""What of the chat-completions protocol an endpoint understands: asked for in full, and learned from its refusals.

Endpoints call the output limit by two names, some have no temperature, and many local ones no JSON schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpdr.config import TeacherConfig

ONE, SEVERAL = "choice", "choices"  # what an answer of one concept is called in the schema, and of all concepts that a mention names


class Dialect:
    """The arguments of a request beside model and messages."""

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        self._refused: set[str] = set()
        self._understood: set[str] = set()

    @property
    def identity(self) -> list[Any]:
        """What, with the messages, makes two questions the same: the model and all that shapes its answer, as configured."""
        config = self._config
        shaping = [config.model, config.temperature, config.max_output_tokens, config.structured, config.logprobs, config.parameters]
        return [*shaping, *([config.sandbox.model_dump()] if config.simulated else [])]

    def arguments(self, options: int) -> dict[str, Any]:
        """Of a question with so many options beside "none of these"."""
        config = self._config
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        arguments: dict[str, Any] = {limit: config.max_output_tokens, "temperature": config.temperature}
        if config.structured:
            arguments["response_format"] = _schema(options, config.several)
        if config.logprobs:
            arguments["logprobs"] = True
        arguments.update(config.parameters)
        return {name: value for name, value in arguments.items() if name not in self._refused and value is not None}

    def understood(self, arguments: dict[str, Any]) -> None:
        """A request with these was answered: what a later refusal says of them is of its own words."""
        self._understood |= arguments.keys()

    def learn(self, refusal: str, arguments: dict[str, Any]) -> bool:
        """Whether what an HTTP 400 says names an argument that can be left out or called otherwise: then ask again."""
        words = refusal.casefold()
        named = {
            "max_tokens": "max_completion_tokens" in words,
            "response_format": any(word in words for word in ("response_format", "json_schema", "structured output")),
            "logprobs": "logprobs" in words,
            "temperature": "temperature" in words,
        }
        found = next((name for name, is_named in named.items() if is_named and name in arguments and name not in self._understood), None)
        if found is None or found in self._config.parameters:
            return False
        self._refused.add(found)
        return True


def own_schema(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON schema of a request's arguments; None where it has none, or another response_format, which `teacher.parameters` may give."""
    asked = arguments.get("response_format")
    named = asked.get("json_schema") if isinstance(asked, dict) and asked.get("type") == "json_schema" else None
    schema = named.get("schema") if isinstance(named, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return schema if isinstance(properties, dict) and [*properties] in ([ONE], [SEVERAL]) else None


def _schema(options: int, several: bool) -> dict[str, Any]:
    choice = {"type": "string", "enum": [str(n) for n in range(options + 1)]}
    name, kind = (SEVERAL, {"type": "array", "items": choice}) if several else (ONE, choice)
    schema = {"type": "object", "properties": {name: kind}, "required": [name], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
