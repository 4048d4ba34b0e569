"""Mentions in one row without padding: the same as each by itself, in plain transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rpdr.reranker import Query, Student, attention
from rpdr.reranker.attention import Blocks
from rpdr.reranker.prompt import WHOLE_ROW

SHAPE = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, initializer_range=0.3))


def gemma() -> PreTrainedModel:
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, num_key_value_heads=1, initializer_range=0.3, attn_logit_softcapping=0.5))


@pytest.mark.parametrize("made", [llama, gemma])
def test_a_row_of_texts_is_read_as_each_text_alone(made: type):
    torch.manual_seed(0)
    model = made().eval()
    texts = [torch.randint(0, 50, (1, length)) for length in (7, 3, 5)]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        alone = torch.cat([model.model(input_ids=text, use_cache=False).last_hidden_state[0] for text in texts])
        attention.use(model)
        mask = torch.full((3, 1, 8, 8), torch.finfo(torch.float32).min)
        for n, text in enumerate(texts):
            for row in range(8):
                mask[n, 0, row, : row + 1 if row < text.shape[1] else 1] = 0  # what is no token looks at the first
        places = torch.tensor([[*range(7), 0], [7, 8, 9, 0, 0, 0, 0, 0], [*range(10, 15), 0, 0, 0]])
        back = torch.tensor([*range(7), *range(8, 11), *range(16, 21)])
        together = model.model(
            input_ids=torch.cat(texts, dim=1),
            position_ids=torch.cat([torch.arange(text.shape[1]) for text in texts]).unsqueeze(0),
            attention_mask=mask,
            blocks=Blocks(places, back),
            use_cache=False,
        ).last_hidden_state[0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_batch_has_hardly_more_tokens_than_its_mentions(untrained: Student):
    names = ("Vomiting", "Nausea", "Fever")
    found = [untrained.prompt.tokens(Query("throwing up " * n, names, names, (0.6, 0.5, 0.4))) for n in range(1, 9)]
    real = sum(map(len, found))
    batch = untrained.prompt.collate(found)
    assert real <= batch["input_ids"].shape[1] < real + WHOLE_ROW
    assert batch["input_ids"].shape[1] % WHOLE_ROW == 0
