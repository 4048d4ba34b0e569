"""Vectors on a device answer as a FAISS index of them does; here the device is the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from rpdr.retriever import on_device, vectors
from rpdr.retriever.index import Index, build_index
from rpdr.retriever.on_device import OnDevice
from rpdr.retriever.vectors import Part, PartsHere

D = 16


def unit(n: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((n, D), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


NAMES, QUERIES = unit(3000, 0), unit(20, 1)


@pytest.fixture
def flat() -> Part:
    index = faiss.IndexFlatIP(D)
    index.add(NAMES)
    return Part(index)


@pytest.fixture
def gpu_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "has_room", lambda *_: True)
    monkeypatch.setattr(vectors, "OnDevice", lambda read, shape, dtype, _: OnDevice(read, shape, dtype, "cpu"))


@pytest.mark.parametrize("numbers", [1, 20 * 700, 2**20])  # as many products as can be, some, one
@pytest.mark.parametrize("queries", [1, 20])
def test_search_is_exact_in_however_many_products(flat: Part, monkeypatch: pytest.MonkeyPatch, numbers: int, queries: int):
    monkeypatch.setattr(on_device, "NUMBERS", numbers)
    monkeypatch.setattr(on_device, "READ", 1000)
    there = OnDevice(flat.faiss_index.reconstruct_n, NAMES.shape, torch.float32, "cpu")
    found, rows = vectors.best(*there.search(QUERIES[:queries], 7), 7)
    expected, expected_rows = flat.search(QUERIES[:queries], 7)
    assert np.array_equal(rows, expected_rows)
    assert found == pytest.approx(expected, abs=1e-6)
    asked, told = np.arange(30) % queries, np.arange(30) * 100
    assert there.cosines(QUERIES, asked, told) == pytest.approx(
        flat.cosines(QUERIES, np.sort(asked), told[np.argsort(asked)])[np.argsort(np.argsort(asked))], abs=1e-6
    )


def whole_number(card: object) -> int:
    """As torch.cuda's functions take a card whose number they want to be told: 1, or an error."""
    assert type(card) is int
    return 1


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_room_is_half_of_the_share_of_a_gpu_unless_less_is_free(monkeypatch: pytest.MonkeyPatch, share: float):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda card: share * whole_number(card))
    whole = int(3000 * D * 4 * 2 / share)
    for free in (whole, 3000 * D * 4):  # the first copy, a later one
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card, free=free: (free, whole * whole_number(card)))
        assert on_device.has_room(2999, D, torch.float32, "cuda")
        assert not on_device.has_room(3000, D, torch.float32, "cuda")
        assert on_device.has_room(5999, D, torch.float16, "cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (100, whole * whole_number(card)))
    assert not on_device.has_room(2, D, torch.float32, "cuda")


@pytest.mark.usefixtures("gpu_is_the_cpu")
def test_a_part_that_is_moved_gives_the_same_answers(flat: Part):
    queries, rows = np.repeat(np.arange(20), 5), np.random.default_rng(2).integers(0, 3000, 100)
    expected = (*flat.search(QUERIES, 5), flat.cosines(QUERIES, queries, rows))
    moved = Part(flat.faiss_index).to("cuda")
    found = (*moved.search(QUERIES, 5), moved.cosines(QUERIES, queries, rows))
    assert moved.search(QUERIES, 5000)[1].shape == (20, 3000)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.usefixtures("gpu_is_the_cpu")
def test_lists_are_searched_whole_where_there_is_a_gpu(tmp_path: Path):
    def encode(texts: Sequence[str]) -> np.ndarray:
        return NAMES[[int(text) for text in texts]]

    index = build_index(encode, range(3000), [str(n) for n in range(3000)], "ivf")
    assert isinstance(index.own, PartsHere)
    index.own.parts[0].faiss_index.nprobe = 1
    index.save(tmp_path)
    exact = np.argsort(-QUERIES @ NAMES.T, axis=1)[:, :10]
    shares = [
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(index.search(QUERIES, 10)[1].tolist(), exact.tolist(), strict=True)])
        for index in (Index.load(tmp_path), Index.load(tmp_path, device="cuda"))
    ]
    assert shares[0] < 0.9 < 0.99 <= shares[1]


def test_a_cpu_is_no_place_to_move_to(flat: Part):
    assert flat.to("cpu")._there is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_cpus_answers(flat: Part):
    expected, rows = flat.search(QUERIES, 7)
    found, found_rows = Part(flat.faiss_index).to("cuda").search(QUERIES, 7)
    assert np.array_equal(found_rows, rows)
    assert found == pytest.approx(expected, abs=1e-5)


def test_many_queries_hold_no_more_than_k_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names, asked = (rng.normal(size=(n, 8)).astype(np.float32) for n in (300, 50))
    monkeypatch.setattr(on_device, "NUMBERS", 400)  # 40 names a product with ten queries
    monkeypatch.setattr(on_device, "QUERIES", 10)
    there = OnDevice(lambda first, many: names[first : first + many], names.shape, torch.float32, "cpu")
    scores, rows = there.search(asked, 7)
    assert scores.shape == rows.shape == (50, 7)
    truth = np.argsort(-(asked @ names.T), axis=1)[:, :7]
    assert [set(row) for row in rows.tolist()] == [set(row) for row in truth.tolist()]
    assert np.allclose(scores, np.take_along_axis(asked @ names.T, rows, axis=1), atol=1e-5)
