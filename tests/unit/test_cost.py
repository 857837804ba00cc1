"""What machines cost: known answers by hand, scaling that says so, the published recipe, and one sentence a mistake."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import plan_cost
import pytest
from indexscope import cost, memory_plan, plan_arguments
from indexscope.cost import Machine, Tables
from indexscope.memory_plan import MARGIN, Case
from indexscope.run_record import InputError
from indexscope.settings.remote_indexing import Rent

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / "workflow" / "scripts" / "plan_cost.py"
SMALL = memory_plan.ENCODERS["answerai-colbert-small-v1"]
RAGATOUILLE: dict[str, Any] = {
    "framework": "ragatouille",
    "device": "cpu",
    "split_to": None,
    "settings": {"use_faiss": True},
}
COLBERT: dict[str, Any] = {
    "framework": "colbert",
    "device": "cpu",
    "split_to": None,
    "settings": {"in_process": True},
}
PRICES = """resource,usd_per_second,as_of
Small,0.001,2026-01-01
Large,0.003,2026-01-01
CPU,0.0001,2026-01-01
Memory,0.00001,2026-01-01
"""
GPUS = """gpu,nominal_gib,memory_mib,fp16_tflops,fp32_tflops,memory_gb_per_second,reported_as,source
Small,8,8000,100,10,500,NVIDIA Small 8GB;Small,made up
Large,80,80000,400,40,2000,NVIDIA Large,made up
"""
THROUGHPUT = """device,cores,framework,encoder,tokens_per_passage,passages_per_second,kmeans_backend,\
kmeans_gflop_per_second,finalized_embeddings_per_second,source
Small,,ragatouille,answerai-colbert-small-v1,90,100,,,,made up
CPU,2,ragatouille,answerai-colbert-small-v1,90,10,faiss,50,1000000,made up
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    texts = {"prices": PRICES, "gpus": GPUS, "throughput": THROUGHPUT}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in texts}


def case(content: dict[str, Any] | None = None, **known: Any) -> Case:
    """1,000 passages of 90 tokens."""
    return Case(content or RAGATOUILLE, SMALL, 1000, 1.0, 90.0, known=known)


# Dollars and seconds


def test_a_bill_is_seconds_by_prices(files: dict[str, Path]) -> None:
    prices = cost.read_prices(files["prices"])
    assert prices.as_of == date(2026, 1, 1)
    bill = cost.bill(prices, 100, "Small", 4, 2048)
    assert bill == pytest.approx((100 * 0.001, 100 * 4 * 0.0001, 100 * 2 * 0.00001))
    assert bill.total == pytest.approx(0.1 + 0.04 + 0.002)
    assert cost.bill(prices, 100, "Small", 4, 2048, gpus=3).gpu == pytest.approx(0.3)
    assert cost.bill(prices, 100, None, 4, 0).total == pytest.approx(0.04)
    assert cost.bill(prices, 100, "unpriced", 4, 0).total is None


def test_seconds_of_a_measured_gpu_and_encoder(files: dict[str, Path]) -> None:
    tables = Tables.read(**files)
    made = cost.work(case(), Machine(tables.gpus["Small"], 2), tables)
    assert made is not None
    q = cost.on_device(case(), "cuda").quantities()
    assert q.sampled_passages == q.passages == 1000
    assert made.phases["planning"].seconds == pytest.approx(1000 / 100)
    # each embedding by each centroid, at half of 100 TFLOPS and of 500 GB/s
    pairs = q.embeddings * q.partitions
    assigning = 2 * (2 * pairs * q.dim / 100e12 + 4 * pairs / 500e9)
    assert made.phases["encoding"].seconds == pytest.approx(10 + assigning)
    pairs = q.kmeans_iterations * q.trained_points * q.partitions
    assert made.phases["training"].seconds == pytest.approx(
        2 * (2 * pairs * q.dim / 10e12 + 8 * pairs / 500e9)
    )
    assert made.phases["finalizing"].seconds == pytest.approx(90_000 / 1e6)
    assert not made.scaled
    assert made.total.seconds == pytest.approx(math.fsum(each.seconds for each in made.phases.values()))
    for each in made.phases.values():
        assert each.low <= each.seconds <= each.high


def test_another_gpu_is_scaled_and_said_to_be(files: dict[str, Path]) -> None:
    tables = Tables.read(**files)
    made = cost.work(case(), Machine(tables.gpus["Large"], 2), tables)
    assert made is not None
    assert made.scaled
    assert made.phases["planning"].seconds == pytest.approx(1000 / 100 / 4)  # 400 by 100 TFLOPS
    assert "scaled to Large by fp16 TFLOPS (× 4)" in made.basis()
    # With nothing to compare, a factor of two.
    assert made.phases["planning"].low == pytest.approx(2.5 / 2)
    assert made.phases["planning"].high == pytest.approx(2.5 * 2)


def test_how_far_scaling_misses_is_computed(files: dict[str, Path]) -> None:
    """Large has 4 times the TFLOPS, and is as fast: scaling misses by 4."""
    slow = "Large,,ragatouille,answerai-colbert-small-v1,90,100,,,,made up\n"
    files["throughput"].write_text(THROUGHPUT + slow)
    assert cost.device_spread(Tables.read(**files)) == pytest.approx(4)
    # The published ones: A100 took 22 s, T4 44 s, where 312 by 65 TFLOPS say 4.8 times as fast.
    assert cost.device_spread(Tables.read()) == pytest.approx(312 / 65 * 22 / 44, rel=1e-3)


def test_another_encoder_takes_the_longer_of_two_scalings(files: dict[str, Path]) -> None:
    tables = Tables.read(**files)
    large = replace(case(), checkpoint=memory_plan.ENCODERS["colbertv2.0"])
    made = cost.work(large, Machine(tables.gpus["Small"], 2), tables)
    arithmetic = cost.operations(12, 768, 3072, 128, 90) / cost.operations(12, 384, 1536, 96, 90)
    assert 3.8 < arithmetic < 4.0  # four times the weights, twice the attention
    assert made is not None
    assert made.phases["planning"].seconds == pytest.approx(10 * arithmetic)
    small = replace(case(), checkpoint=memory_plan.ENCODERS["synthetic_small"])
    made = cost.work(small, Machine(tables.gpus["Small"], 2), tables)
    assert made is not None
    assert made.phases["planning"].seconds == pytest.approx(10)  # tokens are the same


def test_cores_and_ranks_share_the_work(files: dict[str, Path]) -> None:
    tables = Tables.read(**files)
    two, eight = (cost.work(case(), Machine(None, cores), tables) for cores in (2, 8))
    assert two and eight
    assert two.phases["planning"].seconds == pytest.approx(100)
    assert eight.phases["planning"].seconds == pytest.approx(25)
    assert "scaled to 8 cores" in eight.basis()
    one = cost.offer(case(COLBERT), Machine(tables.gpus["Small"], 2), tables)
    ranks = cost.offer(case(COLBERT, nranks=2), Machine(tables.gpus["Small"], 2), tables)
    assert one.work and ranks.work and one.bill and ranks.bill and one.bill.gpu and ranks.bill.gpu
    assert ranks.work.phases["planning"].seconds == pytest.approx(one.work.phases["planning"].seconds / 2)
    assert one.seconds and ranks.seconds
    assert ranks.bill.gpu / ranks.seconds == pytest.approx(2 * one.bill.gpu / one.seconds)


def test_without_a_measured_speed_there_is_none(files: dict[str, Path]) -> None:
    files["throughput"].write_text("\n".join(THROUGHPUT.splitlines()[:-1]) + "\n")
    tables = Tables.read(**files)
    assert cost.work(case(), Machine(None, 2), tables) is None
    found = cost.offer(case(), Machine(None, 2), tables)
    assert (found.seconds, found.usd) == (None, None)
    assert "No throughput" in found.basis


# What fits


def test_what_fits_follows_the_memory_model(files: dict[str, Path]) -> None:
    tables = Tables.read(**files)
    torch = case({**RAGATOUILLE, "settings": {"use_faiss": False}})
    torch = replace(torch, documents=5000)
    small, large = cost.offers(torch, tables)
    assert (small.name, large.name) == ("Small", "Large")
    peak = cost.on_device(torch, "cuda").prediction().peak("gpu")
    assert (small.phase, small.needs_mib) == (peak[0], pytest.approx(peak[1] * MARGIN))
    assert 8000 < small.needs_mib < 80_000
    assert (small.fits, small.too_small_for) == (False, "training")
    assert small.fix is not None
    assert small.fix.change.setting == "use_faiss: true"
    assert small.fix.change.case.prediction().peak("gpu")[1] * MARGIN <= 8000
    assert large.fits
    assert large.fix is None
    assert cost.smallest([small, large]) is large
    assert cost.cheapest([small, large]) is large


def test_the_smallest_and_the_cheapest_can_differ(files: dict[str, Path]) -> None:
    """Large is four times as fast at three times the price; but nobody measured it."""
    found = cost.offers(replace(case(), documents=100_000), Tables.read(**files), start_seconds=0)
    smallest, cheapest = cost.smallest(found), cost.cheapest(found)
    assert smallest and cheapest
    assert (smallest.name, cheapest.name) == ("Small", "Large")
    measured = cost.cheapest(found, measured=True)
    assert measured
    assert measured.name == "Small"


def test_text_is_kept_before_it_is_cut() -> None:
    """Of settings that make it fit, one that leaves text out is the last."""
    found = cost.what_fits(cost.recipe_case(800), 15_360)
    assert found
    assert found.change.setting == "use_faiss: true"


# The recipe


def test_why_the_recipe_ran_out_of_memory() -> None:
    """k-means in PyTorch: points × partitions × 4 bytes, 2.25 times; partitions double at 262,144 embeddings."""
    tables = Tables.read()
    light, full = (cost.offers(cost.recipe_case(tokens), tables) for tokens in cost.RECIPE_TOKENS_A_PAGE)
    assert all(each.fits for each in light)
    fit = {each.name: each.fits for each in full}
    assert not any(fit[name] for name in ("T4", "L4", "A10"))
    assert all(fit[name] for name in ("A100 40GB", "A100 80GB", "L40S"))
    q = full[0].case.quantities()
    assert (q.kmeans_backend, q.nbits, q.kmeans_iterations, q.partitions) == ("torch", 4, 20, 8192)
    assert light[0].case.quantities().partitions == 4096
    matrix = 2.25 * 4 * q.points * q.partitions / 2**20
    prediction = full[0].case.prediction()
    assert matrix / prediction.mib("training", "gpu") > 0.9
    # Even without the margin no card of 24 GB holds it; every other phase fits into the smallest.
    assert prediction.mib("training", "gpu") > 23_034
    assert all(prediction.mib(phase, "gpu") < 4096 for phase in ("planning", "encoding", "finalizing"))
    t4 = full[0]
    assert t4.name == "T4"
    assert t4.too_small_for == "training"
    assert t4.fix is not None
    assert t4.fix.change.setting == "use_faiss: true"


def test_the_estimate_beside_what_the_recipe_cost() -> None:
    """$0.10 are 171 s of the GPU alone; work takes 20 to 40 s of them, the start is the rest."""
    tables = Tables.read()
    implied = cost.RECIPE_USD / tables.prices.usd_per_second["A100 40GB"]
    assert implied == pytest.approx(171.5, abs=0.1)
    for tokens in cost.RECIPE_TOKENS_A_PAGE:
        found = cost.offer(cost.recipe_case(tokens), Machine(tables.gpus["A100 40GB"], 2), tables)
        assert found.work and found.seconds and found.usd
        assert 15 < found.work.total.seconds < 60
        assert found.work.total.high < implied
        assert 0.03 < found.usd < cost.RECIPE_USD


# Texts


def test_passages_of_a_text() -> None:
    assert cost.passages_of(100, 512) == (1, 100)
    assert cost.passages_of(10_000, None) == (1, 10_000)
    passages, tokens = cost.passages_of(512 + 448 * 3, 512)  # 512 tokens, then 448 new ones in each
    assert (passages, tokens) == (4, 512)
    found = cost.texts_of([round(100 * cost.BYTES_PER_TOKEN), round(900 * cost.BYTES_PER_TOKEN)], 512, 300)
    assert (found.documents, found.passages) == (2, 3)
    assert found.embeddings == pytest.approx(100 + 2 * 300, rel=0.01)  # cut at 300


def test_lengths_are_read_line_by_line(tmp_path: Path) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"document_id": "a", "text": "abc"}\n{"document_id": "b", "text": "äö"}\n')
    assert list(cost.text_lengths(documents)) == [3, 4]
    documents.write_text('{"document_id": "a", "text": "abc"}\n{"document_id": "b"}\n')
    with pytest.raises(InputError, match=r"documents.jsonl: line 2 is no document; "):
        list(cost.text_lengths(documents))
    with pytest.raises(InputError, match="cannot be read"):
        list(cost.text_lengths(tmp_path / "none.jsonl"))


def test_what_splits() -> None:
    assert cost.split_length(RAGATOUILLE) == 256
    assert cost.split_length(cost.RECIPE_CONTENT) == 512
    assert cost.split_length({**RAGATOUILLE, "settings": {"split_documents": False}}) is None
    assert cost.split_length(COLBERT) is None
    assert cost.split_length({**COLBERT, "split_to": 180}) == 180


# Tables


def test_the_tables_of_the_project() -> None:
    tables = Tables.read()
    assert tables.prices.usd_per_second["T4"] == 0.000164
    assert tables.prices.as_of == date(2026, 7, 1)
    for name in tables.prices.gpus:
        gpu = tables.gpus[name]
        assert gpu.nominal_gib * 1024 * 0.93 < gpu.memory_mib < gpu.nominal_gib * 1024 * 1.03
    reported = tables.reported("NVIDIA A100-SXM4-40GB")
    assert reported
    assert reported.name == "A100 40GB"
    assert tables.reported("NVIDIA GeForce RTX 4090") is None
    published = (REPOSITORY / "config/published/encode_seconds_per_25k_passages.csv").read_text()
    for row in tables.throughput:
        if row.device != cost.CPU:  # copied right
            seconds = round(25_000 / row.passages_per_second)
            assert f"{row.framework},none,{row.device},{seconds}," in published


def test_defaults_are_those_of_the_configuration() -> None:
    rent = Rent()
    assert [REPOSITORY / rent.prices, REPOSITORY / rent.gpus, REPOSITORY / rent.throughput] == [
        cost.PRICES,
        cost.GPUS,
        cost.THROUGHPUT,
    ]
    assert (rent.cores, rent.start_seconds) == (cost.CORES, cost.START_SECONDS)


def test_old_prices_are_a_sentence(files: dict[str, Path]) -> None:
    prices = cost.read_prices(files["prices"])
    assert prices.stale(date(2027, 1, 1)) is None
    sentence = prices.stale(date(2027, 1, 2))
    assert sentence
    assert "the prices are of 2026-01-01, 366 days ago" in sentence


@pytest.mark.parametrize(
    ("table", "old", "new", "sentence"),
    [
        ("prices", "usd_per_second", "usd", "column usd_per_second is missing"),
        ("prices", "Small,0.001", "Small,-1", "line 2: usd_per_second is '-1'; write a number of 0 or more"),
        ("prices", "Small,0.001", "Small,cheap", "line 2: usd_per_second is 'cheap'"),
        ("prices", "Small,0.001", "Small,nan", "line 2: usd_per_second is 'nan'"),
        ("prices", "Large,", "Small,", "line 3: 'Small' is there twice"),
        ("prices", "Small,", "Tiny,", "resource 'Tiny' is no GPU of"),
        ("prices", "CPU,0.0001,2026-01-01\n", "", "resource CPU is missing; add the price of a core"),
        ("prices", "Large,0.003,2026-01-01", "Large,0.003,2025-01-01", "line 3: as_of is '2025-01-01'"),
        ("prices", "2026-01-01", "today", "as_of: 'today' is no date"),
        ("prices", PRICES.partition("\n")[2], "", "has no row"),
        ("gpus", ",8000,", ",0,", "line 2: memory_mib is '0'; write a positive number"),
        ("gpus", "Large,80", "Small,80", "line 3: 'Small' is there twice"),
        ("gpus", "fp16_tflops", "tflops", "column fp16_tflops is missing"),
        ("throughput", "Small,,", "Medium,,", "line 2: device 'Medium' is neither CPU nor a GPU"),
        ("throughput", "answerai-colbert-small-v1", "bert", "line 2: encoder 'bert' is not known"),
        ("throughput", "90,100", "90,", "line 2: passages_per_second is ''"),
    ],
)
def test_a_wrong_table_is_a_sentence(
    files: dict[str, Path], table: str, old: str, new: str, sentence: str
) -> None:
    text = files[table].read_text()
    assert old in text
    files[table].write_text(text.replace(old, new))
    with pytest.raises(InputError, match=re.escape(sentence)) as raised:
        Tables.read(**files)
    assert str(raised.value).startswith(str(files[table]))
    assert "\n" not in str(raised.value)


def test_a_table_that_is_not_there(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"none.csv cannot be read \(No such file"):
        Tables.read(files["prices"].with_name("none.csv"), files["gpus"], files["throughput"])
    files["gpus"].write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is no CSV"):
        Tables.read(**files)


# The program

LARGE = ["--documents", "12.6M", "--framework", "ragatouille", "--tokens-per-passage", "77"]


def run(*arguments: str) -> tuple[int, str, str]:
    """The program, in this process."""
    written, errors = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", [str(PROGRAM), *arguments]),
        redirect_stdout(written),
        redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        plan_cost.main()
    return int(ended.value.code or 0), written.getvalue(), errors.getvalue()


def test_it_runs_where_nothing_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(PROGRAM), *LARGE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == run(*LARGE)
    assert done.returncode == 0


def test_text_says_what_json_says() -> None:
    code, text, _ = run(*LARGE)
    found = json.loads(run(*LARGE, "--json")[1])
    assert code == 0
    assert max(map(len, text.splitlines())) <= 100
    assert [each["machine"] for each in found["machines"]] == [
        *[each.name for each in cost.offers(case(), Tables.read())],
        "2 CPU cores",
    ]
    for each in found["machines"]:
        row = next(line for line in text.splitlines() if line.startswith(each["machine"] + " "))
        assert f"{each['usd']:,.2f}" in row
        assert sum(each["usd_of"].values()) == pytest.approx(each["usd"])
    assert f"Smallest GPU that fits: {found['smallest']}," in text
    assert f"Cheapest that fits: {found['cheapest']}," in text


def test_one_gpu_and_its_exit_status() -> None:
    recipe = [
        *("--documents", "2", "--framework", "ragatouille", "--encoder", "colbertv2.0"),
        *("--passages-per-document", "358", "--tokens-per-passage", "511", "--doc-maxlen", "512"),
    ]
    code, text, _ = run(*recipe, "--gpu", "T4")
    assert code == 1
    assert "no: training" in text
    assert "use_faiss: true would make it fit into T4" in text
    assert run(*recipe, "--gpu", "A100 40GB")[0] == 0
    assert run(*recipe, "--gpu", "T4", "--kmeans", "faiss")[0] == 0


def test_it_says_how_old_prices_are(files: dict[str, Path]) -> None:
    files["prices"].write_text(PRICES.replace("2026", "2001"))
    options = [f"--{name}={path}" for name, path in files.items()]
    _, text, _ = run(*LARGE, *options)
    assert "Warning: " in text
    assert "the prices are of 2001-01-01" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*LARGE, "--gpu", "RTX 4090"], "--gpu: 'RTX 4090' is no GPU of "),
        ([*LARGE, "--cores", "none"], "--cores: 'none' is not a positive number"),
        ([*LARGE, "--start-seconds", "-1"], "--start-seconds: '-1' is not a positive number"),
        ([*LARGE, "--prices", "none.csv"], "none.csv cannot be read"),
        (["--documents", "5"], "--framework or --system: give one"),
        (["--framework", "colbert"], "--documents: is missing"),
        ([*LARGE, "--device", "cpu"], "unrecognized arguments: --device cpu"),
    ],
)
def test_bad_input_is_a_sentence(arguments: list[str], sentence: str) -> None:
    code, text, errors = run(*arguments)
    assert (code, text) == (2, "")
    assert errors.startswith(sentence)
    assert errors.count("\n") == 1


def test_it_is_asked_as_plan_memory_is() -> None:
    """The same options describe the same index."""
    import argparse

    parsers = [argparse.ArgumentParser(), argparse.ArgumentParser()]
    for parser, device in zip(parsers, (True, False), strict=True):
        plan_arguments.add_options(parser, device=device)
    memory, money = ({action.dest for action in parser._actions} for parser in parsers)
    assert memory - money == {"device"}
    words = [*LARGE, "--nbits", "2", "--index-bsize", "16", "--nranks", "2"]
    cases = [plan_arguments.case_of(parser.parse_args(words)) for parser in parsers]
    assert cases[0] == cases[1]
    assert cases[0].quantities().index_bsize == 16


def test_the_page_shows_what_the_program_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a table or the model changes: run the command, and paste what it prints below it."""
    page = (REPOSITORY / "docs" / "planning.md").read_text()
    blocks = re.findall(r"```\n(.*?)\n```", page[page.index("# What it will cost") :], re.DOTALL)
    command, printed = blocks[:2]
    words = shlex.split(command.replace("\\\n", " "))
    monkeypatch.chdir(REPOSITORY)
    done = run(*words[words.index("workflow/scripts/plan_cost.py") + 1 :])[1]
    assert done.rstrip() == printed
