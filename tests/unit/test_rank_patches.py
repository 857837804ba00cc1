"""What is put in the place of colbert-ai's process group and list of GPUs, without colbert-ai and torch."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from indexscope.frameworks import colbert, plaid, ragatouille
from indexscope.measure import process_tree

GPUS = ("colbert.infra.config.settings", "RunSettings.gpus_")
INIT = ("colbert.utils.distributed", "init")
BARRIER = ("colbert.utils.distributed", "barrier")


class Torch(SimpleNamespace):
    """What the patches ask of torch; `done` is what they did."""

    def __init__(self, cuda: bool) -> None:
        self.done: list[Any] = []
        super().__init__(
            cuda=SimpleNamespace(is_available=lambda: cuda),
            distributed=SimpleNamespace(
                is_initialized=lambda: bool(self.done),
                init_process_group=lambda *args, **more: self.done.append(args[0]),
                barrier=lambda: self.done.append("barrier"),
            ),
        )


@pytest.mark.parametrize(
    ("device", "ranks", "expected"),
    [
        ("cpu", None, set()),  # nothing is changed where nothing is lacking
        ("cpu", 1, set()),
        ("cpu", 2, {INIT, BARRIER}),
        ("cuda", None, {GPUS, INIT}),
        ("cuda", 2, {GPUS, INIT}),
    ],
)
def test_what_is_patched(device: str, ranks: int | None, expected: set[tuple[str, str]]) -> None:
    assert set(colbert.patches({"device": device, "settings": {"nranks": ranks}})) == expected
    assert GPUS in ragatouille.patches({"device": "cuda", "settings": {}})


def test_ranks_on_a_cpu_meet_by_gloo_at_the_port_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch(cuda=False)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("MASTER_PORT", "12355")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    monkeypatch.setenv(plaid.RENDEZVOUS_PORT, "")
    plaid.choose_port()
    chosen = os.environ[plaid.RENDEZVOUS_PORT]
    with socket.socket() as free:
        free.bind(("localhost", int(chosen)))
    patches = plaid.patches({"device": "cpu", "settings": {}}, 2)
    init = patches[INIT](lambda rank: (2, True))
    barrier = patches[BARRIER](lambda rank: 1 // 0)
    barrier(0)  # before the ranks have met there is nobody to wait for
    assert torch.done == []
    assert init(1) == (2, True)
    assert init(1) == (2, True)  # once
    barrier(1)
    assert torch.done == ["gloo", "barrier"]
    assert os.environ["MASTER_PORT"] == chosen
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"


def test_on_gpus_the_library_meets_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch(cuda=True)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert plaid.patches({"device": "cuda", "settings": {}}, 2)[INIT](lambda rank: (2, True))(0) == (2, True)
    assert torch.done == []


def test_the_gpus_of_a_run_stay_those_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class RunSettings:
        gpus_ = property(lambda self: [0, 1])

    RunSettings.gpus_ = plaid.patches({"device": "cuda", "settings": {}})[GPUS](RunSettings.__dict__["gpus_"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-aaaa")
    assert (
        ",".join(map(str, RunSettings().gpus_[:2])) == "3,GPU-aaaa"
    )  # as colbert.infra.launcher sets it again
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert RunSettings().gpus_ == [0, 1]


def test_an_index_says_how_many_ranks_made_it(tmp_path: Path) -> None:
    config = {"dim": 96, "nbits": 2, "doc_maxlen": 256, "index_bsize": 64, "nranks": 3}
    metadata = {"config": config, "num_chunks": 1, "num_embeddings": 9, "num_partitions": 2}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    (tmp_path / "0.metadata.json").write_text(json.dumps({"num_passages": 4}))
    assert plaid.resolve(str(tmp_path))["ranks"] == 3


def test_the_signal_is_the_cause_where_its_loss_made_others_fail() -> None:
    sampler = process_tree.TreeSampler(1, io.StringIO(), 0)
    stat = process_tree.proc.Stat("Z", 1, 0, 0)
    for pid, status in ((2, 1 << 8), (3, 9), (4, 1 << 8), (5, 0)):
        sampler.processes[pid] = process_tree.Process(pid, stat, 0.0)
        sampler.processes[pid].exit_status = status
    assert sampler.failure() == process_tree.Failure(3, 9)
    del sampler.processes[3]
    assert sampler.failure() == process_tree.Failure(2, 1 << 8)
