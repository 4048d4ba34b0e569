"""What an endpoint's reply says: an answer or none, what it used, how sure the model was. A reply may hold anything."""

from __future__ import annotations

import json
import math
from typing import Any, TypeGuard

from openai.types.chat import ChatCompletion

from rpdr.teacher.dialect import SEVERAL, own_schema
from rpdr.teacher.ledger import INVALID, VALID, Ended, Sent
from rpdr.teacher.prompt import after_thought, read_answer, thinks_on

NO_VALID_JSON = "json_validate_failed"  # Groq's, of what the model has made
NO_COMPLETION = "the reply was not a chat completion"


def as_completion(body: Any) -> ChatCompletion | None:
    """As the SDK reads a reply: what it does not know (another finish_reason) is no error."""
    try:
        found = ChatCompletion.construct(**body)
        return found if found.choices[0].message else None
    except (AttributeError, IndexError, TypeError, ValueError):
        return None


def read_reply(sent: Sent, reply: Any, several: bool = False) -> Ended:
    """How a served request ended; `several`: a question without our schema was for all concepts that a mention names. Where the endpoint does not
    say what was used, the worst case was."""
    prompt, completion, cached = _used(sent, getattr(reply, "usage", None))
    try:
        text, reason, cut, confidence = _said(reply)
    except Exception as error:  # whatever was sent, it was paid for: its row in the ledger must end
        text, reason, cut, confidence = "", f"{NO_COMPLETION} ({type(error).__name__})", False, None
    options: list[str] = json.loads(sent.options)
    schema = own_schema(json.loads(sent.parameters))
    for_several = SEVERAL in schema["properties"] if schema else several
    # what was cut may lack the end of a list, or have only begun to think
    named = None if reason or (cut and (for_several or not _is_json(text))) else read_answer(text, range(len(options)), for_several)
    if named is None:
        why = reason or (_cut_at(sent) if cut else "the answer was not one of the options")
        return Ended(sent.id, INVALID, prompt, completion, text, reason=why, cached_tokens=cached)
    ids = sorted(options[n] for n in named)  # in an order of their own: equal answers are equal texts
    choice_id = None if not ids else ids[0] if len(ids) == 1 else json.dumps(ids)
    return Ended(sent.id, VALID, prompt, completion, text, choice_id, confidence, cached_tokens=cached)


def worked_for(sent: Sent, body: Any) -> Ended | None:
    """How a request ended whose refusal says that the model has worked, as far as its limit: at the worst case, as nothing is counted. Else None."""
    words, codes = complaint(body)
    if "could not finish the message" not in words.casefold() and NO_VALID_JSON not in codes:
        return None
    why = f"the answer was no JSON, or {_cut_at(sent)}" if NO_VALID_JSON in codes else _cut_at(sent)
    return Ended(sent.id, INVALID, sent.worst_tokens, sent.max_output_tokens, reason=why)


def complaint(body: Any) -> tuple[str, set[str]]:
    """(words, codes) of what an endpoint says is wrong, wherever in a body it stands: Gemini's is a list of one."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = (body.get("error") or body) if isinstance(body, dict) else body
    found = error if isinstance(error, dict) else {"message": error}
    words = found.get("message")
    if not isinstance(words, str):
        words = json.dumps(error, ensure_ascii=False, default=str) if error else ""
    return words, {str(found[name]) for name in ("code", "type") if found.get(name) is not None}


def trouble(reply: Any) -> tuple[str, str]:
    """(code, words) of what a reply holds in place of an answer: gateways give so the errors of the provider behind them."""
    error = getattr(reply, "error", None)
    if not error:
        return "", NO_COMPLETION
    code = error.get("code") if isinstance(error, dict) else None
    return str(code), f"an error in place of an answer ({code or error})"


def _cut_at(sent: Sent) -> str:
    return f"the answer was cut at {sent.max_output_tokens} tokens (teacher.max_output_tokens)"


def _used(sent: Sent, usage: Any) -> tuple[int, int, int]:
    """Tokens of the prompt, of all that was made, as some count what a model thinks in the total alone, and of the prompt those that were cached."""
    prompt, completion, total = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    if not _is_count(prompt, least=1):  # a prompt of nothing was not counted, nor what came of it
        return sent.worst_tokens, max(sent.max_output_tokens, completion if _is_count(completion) else 0), 0
    completion = completion if _is_count(completion) else sent.max_output_tokens
    return prompt, max(completion, total - prompt) if _is_count(total) else completion, _cached(usage)


def _cached(usage: Any) -> int:
    """As OpenAI and its like count them, or DeepSeek."""
    told = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None), getattr(usage, "prompt_cache_hit_tokens", None)
    return max((count for count in told if _is_count(count)), default=0)


def _is_count(value: Any, least: int = 0) -> TypeGuard[int]:
    """Whether it can be a number of tokens; a reply may hold anything."""
    return type(value) is int and least <= value < 2**40


def _said(reply: Any) -> tuple[str, str, bool, float | None]:
    """(the text of a reply, why there is none, whether it was cut at the limit of tokens, the endpoint's confidence)."""
    choices = getattr(reply, "choices", None)
    if not choices:
        return "", NO_COMPLETION, False, None
    message = choices[0].message
    content = message.content
    if isinstance(content, list):  # in parts, of which some may be thoughts
        content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    text = str(content or getattr(message, "refusal", None) or "")
    thought = after_thought(text) != text  # what was thought has probabilities of its own
    return text, "", choices[0].finish_reason == "length" or thinks_on(text), None if thought else _confidence(choices[0])


def _is_json(text: str) -> bool:
    try:
        json.loads(after_thought(text))
    except (ValueError, RecursionError):
        return False
    return True


def _confidence(choice: Any) -> float | None:
    """The probability of the answer's tokens together, where the endpoint gives token log-probabilities; None where they are none."""
    tokens = getattr(getattr(choice, "logprobs", None), "content", None)
    try:
        total = math.fsum(token.logprob for token in tokens) if tokens else math.nan
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(total) else math.exp(min(0.0, total))
