"""The memory model's formulas, against numbers that were worked out by hand or published."""

import csv
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from indexscope import memory_model, memory_plan
from indexscope.memory_model import PHASES, Quantities, Term, predict, quantities_of

PUBLISHED = Path(__file__).parents[2] / "config" / "published" / "memory_of_kmeans_sample.csv"
SMALL = {
    "layers": 2,
    "hidden_size": 128,
    "heads": 2,
    "intermediate_size": 256,
    "vocab_size": 4096,
    "dim": 96,
    "doc_maxlen": 256,
}
MIB = 2**20
GIB = 2**30


def published() -> list[dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def quantities(framework: str = "ragatouille", documents: int = 500, **known: object) -> Quantities:
    """662 passages of 60,672 embeddings: the default's 500 documents under RAGatouille."""
    settings = {"ragatouille": {"use_faiss": True}, "colbert": {"nbits": 2, "kmeans_niters": 4}}
    content = {"framework": framework, "device": "cpu", "settings": settings[framework]}
    return quantities_of(
        content, SMALL, documents, **{"passages": 662, "tokens_per_passage": 60672 / 662, **known}
    )


def term(terms: list[Term], name: str, phase: str, memory: str = "host") -> Term:
    found = [each for each in terms if (each.name, each.phase, each.memory) == (name, phase, memory)]
    assert len(found) == 1, f"{name} of {phase}: {len(found)} terms"
    return found[0]


def study(row: dict[str, str], **known: object) -> Quantities:
    content = {"framework": row["framework"], "device": "cuda", "settings": {"nbits": 2}}
    return quantities_of(
        content,
        {},
        int(row["documents"]),
        passages=int(row["passages"]),
        tokens_per_passage=float(row["tokens_per_passage"]),
        **known,
    )


# Quantities


def test_quantities_of_the_published_logs_are_exact() -> None:
    rows = [row for row in published() if row["passages"]]
    assert len(rows) == 9
    for row in rows:
        found = study(row)
        assert found.sampled_passages == int(row["sampled_passages"])
        assert found.partitions == int(row["partitions"])
        assert found.points == int(row["kmeans_points"])
        assert found.embeddings == int(row["embeddings_estimated"])


def test_the_published_float32_copy_is_predicted_at_all_sizes() -> None:
    rows = published()
    assert len(rows) == 15
    for row in rows:
        points = int(row["kmeans_points"])
        # k-means is given all but 5 % of the sample, at most 50,000 embeddings.
        sampled = points + min(50_000, round(points / 19))
        known = quantities(
            "colbert", device="cuda", passages=1, tokens_per_passage=float(sampled), in_process=True
        )
        assert known.points == pytest.approx(points, abs=1)
        copy = term(list(predict(known).terms), "sample, float32 for faiss", "training")
        assert copy.mib * MIB / GIB == pytest.approx(float(row["float32_sample_gib"]), abs=6e-4)
        half = known.sampled_embeddings * known.dim * 2 / GIB
        assert half == pytest.approx(float(row["float16_sample_gib"]), abs=6e-4)


def test_the_distance_matrix_of_the_published_10k_run() -> None:
    row = next(row for row in published() if row["documents"] == "10000" and row["passages"])
    known = study(row, kmeans_backend="torch")
    assert known.minibatch is None
    matrix = term(list(predict(known).terms), "distance matrix", "training", "gpu")
    # The mask as numbers, as booleans, and that of the iteration before: 2.25 of the 27.55 GiB that were asked for.
    assert matrix.mib / 1024 / 2.25 == pytest.approx(float(row["distance_matrix_gib"]), abs=5e-3)


def test_sizes_of_the_default_grid() -> None:
    known = quantities()
    assert known.sampled_passages == 662
    assert known.heldout_embeddings == 3033
    assert known.points == 57_639
    assert known.partitions == 2048
    assert (known.chunks, known.chunk_passages) == (1, 662)
    assert known.assigned_at_once == 60_672


def test_chunks_and_ranks() -> None:
    known = quantities(passages=100_001)
    assert (known.chunks, known.chunk_passages) == (5, 25_000)
    four = replace(known, nranks=4, passages=8_000)
    assert (four.chunk_passages, four.chunks) == (2_001, 4)
    content = {"framework": "colbert", "device": "cpu", "settings": {"chunk_passages": 600}}
    smaller = quantities_of(content, {}, 8_000)
    assert (smaller.chunk_passages, smaller.chunks) == (600, 14)
    whole = quantities_of({**content, "settings": {"chunk_passages": 100_000}}, {}, 8_000)
    assert (whole.chunk_passages, whole.chunks) == (8_000, 1)


def test_minibatches_start_above_15_000_partitions() -> None:
    known = quantities(tokens_per_passage=100.0)
    assert replace(known, passages=6_000).partitions == 8_192
    assert replace(known, passages=6_000).minibatch is None
    assert replace(known, passages=20_000).partitions == 16_384
    assert replace(known, passages=20_000).minibatch == 16_000
    assert replace(known, passages=60_000).partitions == 32_768
    assert replace(known, passages=60_000).minibatch == 8_000


def test_settings_are_resolved_as_the_frameworks_do() -> None:
    content = {"framework": "ragatouille", "device": "cpu", "settings": {}}
    small = quantities_of(content, SMALL, 500)
    assert (small.kmeans_backend, small.nbits, small.index_bsize, small.kmeans_iterations) == (
        "torch",
        4,
        32,
        20,
    )
    assert small.splits_documents
    assert small.passages > small.documents
    large = quantities_of(content, SMALL, 100_000)
    assert (large.kmeans_backend, large.nbits, large.kmeans_iterations) == ("faiss", 2, 4)
    whole = quantities_of({**content, "settings": {"split_documents": False}}, SMALL, 500)
    assert whole.passages == 500
    colbert = quantities_of({"framework": "colbert", "device": "cpu", "settings": {}}, SMALL, 500)
    assert (colbert.in_process, colbert.index_bsize, colbert.nbits) == (False, 64, 1)
    alike = {
        "framework": "colbert",
        "device": "cpu",
        "settings": {"like_ragatouille": True, "in_process": True},
    }
    assert quantities_of(alike, SMALL, 500).index_bsize == 32


def test_known_quantities_are_checked() -> None:
    with pytest.raises(TypeError, match="tokens is no quantity"):
        quantities(tokens=77)
    with pytest.raises(ValueError, match="positive"):
        quantities(passages=0)
    assert quantities(dim=None).dim == 96


# Terms


def test_terms_of_a_run_by_hand() -> None:
    terms = list(predict(quantities()).terms)
    matrix = term(terms, "embeddings × centroids, to assign codes", "encoding")
    assert matrix.mib == 2048 * 60672 * 4 / MIB == 474.0
    assert matrix.formula.endswith("= 2,048 × 60,672 × 4")
    padded = term(terms, "padded outputs of a super-batch", "planning")
    assert padded.mib == 3 * 662 * 256 * 96 * 4 / MIB
    activations = term(terms, "activations of a batch", "planning")
    assert activations.mib == 32 * 256 * (2 * 256 + 10 * 128) * 4 / MIB == 56.0


def test_training_with_faiss_by_hand() -> None:
    # On a GPU: on a CPU fitting the codec to the heldout part takes more than k-means.
    known = quantities(passages=60_000, tokens_per_passage=100.0, device="cuda")
    # 1 + int(16 sqrt(120 x 60,000)) passages; 16 sqrt(6,000,000) = 39,192 is above 2^15.
    assert (known.sampled_passages, known.partitions) == (42_933, 32_768)
    terms = list(predict(known).terms)
    assert term(terms, "sample, float16", "training").mib == 4_293_300 * 96 * 2 / MIB
    assert term(terms, "sample, float32 for faiss", "training").mib == 4_243_300 * 96 * 4 / MIB
    assert not [each for each in terms if each.name == "subsample of faiss"]
    # Long passages, all of them sampled: more than 256 points for each of 2^15 partitions, of which faiss takes a part.
    long = replace(known, passages=30_000, tokens_per_passage=500.0, doc_maxlen=512)
    assert (long.points, long.partitions) == (30_000 * 500 - 50_000, 32_768)
    subsample = term(list(predict(long).terms), "subsample of faiss", "training")
    assert subsample.mib == 256 * 32_768 * 96 * 4 / MIB


def test_distance_matrices_of_pytorchs_kmeans() -> None:
    terms = list(predict(quantities(kmeans_backend="torch")).terms)
    assert term(terms, "distance matrix", "training").mib == 3 * 57639 * 2048 * 4 / MIB
    assert predict(quantities(kmeans_backend="torch")).peak()[0] == "training"
    assert predict(quantities()).peak()[0] == "encoding"


def test_the_product_with_the_centroids_is_bounded() -> None:
    known = quantities(passages=20_000_000, tokens_per_passage=100.0)
    matrix = term(list(predict(known).terms), "embeddings × centroids, to assign codes", "encoding")
    assert matrix.mib == 2**29 * 4 / MIB


def test_what_is_sorted_in_the_end() -> None:
    known = quantities(passages=10_000_000, tokens_per_passage=100.0)
    terms = [each for each in predict(known).terms if each.phase == "finalizing"]
    alive = sum(each.mib for each in terms if "int64" in each.name or "int32" in each.name)
    assert alive == pytest.approx(10**9 * (2 * 8 + 4 * 4) / MIB)


def test_what_the_heap_keeps_depends_on_what_lies_on_top_of_it() -> None:
    kept = {}
    for passages in (662, 1600, 1601):
        terms = list(predict(quantities(passages=passages)).terms)
        kept[passages] = term(terms, "kept by the allocator", "finalizing").mib
    # 1,600 passages of 92 tokens are 54 MiB of embeddings, mapped by themselves: the heap beneath can go.
    assert kept[1600] < 1600 * 256 * 190 / MIB <= 75
    assert kept[662] > 100
    assert kept[1601] > 200  # a second super-batch lies on top again


def test_a_child_stands_beside_its_parent() -> None:
    child = predict(quantities("colbert", passages=500, tokens_per_passage=77.87))
    assert {each.process for each in child.terms} == {"worker", "parent", "manager", "tracker"}
    assert child.mib("child exit") > child.mib("start-up")
    inside = predict(quantities("colbert", passages=500, tokens_per_passage=77.87, in_process=True))
    assert {each.process for each in inside.terms} == {"parent", "tracker"}
    assert inside.mib("child exit") == 0
    constants = memory_model.constants_of(child.quantities)
    beside = child.mib("encoding") - inside.mib("encoding")
    assert beside == pytest.approx(constants.idle_parent + memory_model.MANAGER_MIB, abs=1)


def test_the_environment_decides_the_libraries() -> None:
    own = predict(quantities("colbert", environment="colbert"))
    other = predict(quantities("colbert", environment="ragatouille"))
    assert other.peak()[1] - own.peak()[1] > 100
    assert predict(quantities("colbert", environment="another")).peak() == own.peak()


def test_a_gpu_takes_what_is_computed_there() -> None:
    cpu, gpu = predict(quantities()), predict(quantities(device="cuda"))
    assert cpu.mib("planning", "gpu") == 0
    for name in ("padded outputs of a super-batch", "activations of a batch"):
        assert (
            term(list(gpu.terms), name, "planning", "gpu").mib
            == term(list(cpu.terms), name, "planning").mib / 2
        )
        assert not [each for each in gpu.terms if each.name == name and each.memory == "host"]
    # The sample stays on the host either way.
    assert term(list(gpu.terms), "sample, float16", "training").mib > 0
    phase, mib = gpu.peak("gpu")
    assert phase in PHASES
    assert mib == pytest.approx(max(gpu.mib(each, "gpu") for each in PHASES))


def test_ranks_share_the_work_and_each_has_its_libraries() -> None:
    known = quantities("colbert", passages=400_000, documents=400_000)
    one, four = predict(known), predict(replace(known, nranks=4))
    libraries = memory_model.constants_of(known).libraries
    assert four.mib("start-up") - one.mib("start-up") >= 3 * libraries
    # Of the sample each rank encodes its part; "other ranks" are beside it.
    name = "embeddings of the sample"
    alone, shared = (
        next(each for each in found.terms if each.phase == "planning" and each.name.startswith(name))
        for found in (one, four)
    )
    copies = {True: 2, False: 1}
    alone_mib = alone.mib / copies["joined" in alone.name]
    assert shared.mib / copies["joined" in shared.name] == pytest.approx(alone_mib / 4, rel=1e-5)


def test_ranks_that_were_measured() -> None:
    """Tree peaks of 1, 2 and 3 ranks on a CPU, medians of three runs with the default allocator (synthetic_small)."""
    measured = {200: (1911, 2859, 3899), 1000: (3207, 4164, 4881)}
    for documents, peaks in measured.items():
        content = {"framework": "colbert", "environment": "ragatouille", "device": "cpu"}
        for ranks, mib in enumerate(peaks, 1):
            known = memory_model.quantities_of(
                {**content, "settings": {"doc_maxlen": 256, "nbits": 2, "in_process": True, "nranks": ranks}},
                memory_plan.encoder_of({"repository": "synthetic_small"}),
                documents,
                tokens_per_passage=77.5,
                in_process=False,
            )
            assert known.nranks == ranks
            assert predict(known).peak()[1] == pytest.approx(mib, rel=0.06)


def test_ranks_are_child_processes_whatever_in_process_says() -> None:
    content = {"framework": "colbert", "settings": {"in_process": True, "nranks": None}}
    assert memory_model.quantities_of(content, {}, 100).in_process
    content["settings"] = {"in_process": True, "nranks": 2}
    assert not memory_model.quantities_of(content, {}, 100).in_process
    assert memory_model.quantities_of(content, {}, 100, nranks=1).in_process


@pytest.mark.parametrize("framework", ["colbert", "ragatouille"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_more_documents_never_need_less_where_no_limit_is_crossed(framework: str, device: str) -> None:
    """Across limits it may fall: minibatches from 15,000 partitions on, mapped blocks from 32 MiB on."""
    sizes = [100_000, 200_000, 500_000, 1_000_000, 5_000_000, 12_600_000]
    peaks = []
    for size in sizes:
        content = {"framework": framework, "device": device, "settings": {}}
        peaks.append(predict(quantities_of(content, {}, size)).peak()[1])
    assert peaks == sorted(peaks)
    assert len(set(peaks)) == len(peaks)


@pytest.mark.parametrize(
    "change", [{"dim": 128}, {"index_bsize": 64}, {"doc_maxlen": 512}, {"text_bytes": 10**9}]
)
def test_more_of_anything_never_needs_less(change: dict[str, int]) -> None:
    assert predict(quantities(**change)).peak()[1] > predict(quantities()).peak()[1]


def test_terms_add_up_and_say_their_formula() -> None:
    for known in (quantities(), quantities("colbert"), quantities(device="cuda"), quantities(nranks=3)):
        prediction = predict(known)
        for each in prediction.terms:
            assert each.phase in PHASES
            assert each.memory in ("host", "gpu")
            assert each.mib >= 0
            assert math.isfinite(each.mib)
            assert "=" in each.formula or ":" in each.formula, each.formula
        for phase in PHASES:
            summed = sum(
                each.mib for each in prediction.terms if (each.phase, each.memory) == (phase, "host")
            )
            assert prediction.mib(phase) == pytest.approx(summed)


def test_a_product_is_what_its_formula_says() -> None:
    """Each formula's numbers, multiplied, are its MiB."""
    found = 0
    for each in predict(quantities(kmeans_backend="torch")).terms:
        words, equals, numbers = each.formula.rpartition(" = ")
        if not equals or "MiB" in numbers or " - " in numbers or "+" in numbers:
            continue
        product = math.prod(float(number.replace(",", "")) for number in numbers.split(" × "))
        assert product / MIB == pytest.approx(each.mib, rel=1e-5), words
        found += 1
    assert found > 15


def test_other_constants_can_be_given() -> None:
    known = quantities()
    constants = memory_model.constants_of(known)
    more = replace(constants, libraries=constants.libraries + 100)
    assert predict(known, more).peak()[1] == pytest.approx(predict(known).peak()[1] + 100)
    assert {field.name for field in fields(constants)} >= {
        "libraries",
        "opening",
        "splitter",
        "first_forward",
    }
