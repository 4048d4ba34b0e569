"""What tests of several folders use."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from pyarrow import fs
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: the two processes of `make test` take a file at a time, and then end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of two layers, made here: nothing is fetched."""
    folder = tmp_path_factory.mktemp("tiny_llm")
    bpe = ByteLevelBPETokenizer()
    texts = ["Mention: throwing up all day", "\nConcept: Vomiting\n", "\nConcept: Nausea (feeling sick)\n", "\nNone of these\n"]
    bpe.train_from_iterator(texts, vocab_size=320, min_frequency=1, special_tokens=["<eos>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<eos>")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, initializer_range=0.3, **shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT of this machine where nothing answers."""
    with socket.socket() as held:  # so that no other process gets the port
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty place in a bucket of a server on this machine that speaks S3."""
    moto = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    where = "scheme=http&region=us-east-1&endpoint_override={}:{}".format(*server.get_host_and_port())
    fs.FileSystem.from_uri(f"s3://linked/?{where}&allow_bucket_creation=true")[0].create_dir("linked")
    yield f"s3://linked/{uuid4().hex}?{where}"  # one memory for all servers of a process
    server.stop()
