"""Bytes of segments by part, against sizes that are known without faiss, and against what an allocator does."""

from __future__ import annotations

import pytest
from indexscope.faiss_tables import formulas
from indexscope.faiss_tables.formulas import Geometry

SMALL = Geometry(dim=64, nlist=256, pq_m=16, code_size=8, hnsw_m=16, vectors_per_segment=4000)
RFC = Geometry(dim=128, nlist=2048, pq_m=64, code_size=8, hnsw_m=16, vectors_per_segment=10_000)
KINDS = [
    (index_type, metric)
    for index_type in ("ivf_flat", "hnsw_pq", "ivf_pq")
    for metric in ("l2", "inner_product")
]
MODES = ["default", "skip", "shared"]


def test_the_tables_of_the_rfc() -> None:
    """k-NN#1507: 100 segments with nlist 2048, m 64 and 8 bits hold 12.5 GiB, and need 0.125 GiB."""
    tables = {mode: formulas.memory("ivf_pq", "l2", RFC, 100, mode).tables for mode in MODES}
    assert tables == {"default": 12.5 * 2**30, "skip": 0, "shared": 0.125 * 2**30}


def test_the_sdc_tables_of_faiss_3246() -> None:
    """500 HNSWPQ indexes with m 64 and 8 bits hold 7.8125 GiB, whatever the metric."""
    for metric in ("l2", "inner_product"):
        assert formulas.memory("hnsw_pq", metric, RFC, 500, "default").tables == 7.8125 * 2**30


def test_parts_of_one_segment() -> None:
    flat = formulas.memory("ivf_flat", "l2", SMALL, 1, "default")
    assert (flat.centroids, flat.pq_centroids, flat.codes, flat.ids) == (65_536, 0, 1_024_000, 32_000)
    assert (flat.graph, flat.tables) == (0, 0)
    quantized = formulas.memory("ivf_pq", "l2", SMALL, 1, "default")
    assert (quantized.centroids, quantized.pq_centroids, quantized.codes) == (65_536, 65_536, 64_000)
    assert (quantized.ids, quantized.graph, quantized.tables) == (32_000, 0, 4 << 20)
    graph = formulas.memory("hnsw_pq", "l2", SMALL, 1, "default")
    assert (graph.centroids, graph.pq_centroids, graph.codes, graph.ids) == (0, 65_536, 64_000, 0)
    # Links of 4 bytes, a level of 4 and an offset of 8 a vector, and one offset more.
    assert graph.graph == 4 * 131_872 + 4 * 4000 + 8 * 4001
    assert graph.tables == 4 << 20


def test_four_bits_a_code() -> None:
    four = SMALL._replace(code_size=4)
    parts = formulas.memory("ivf_pq", "l2", four, 1, "default")
    assert (parts.codes, parts.pq_centroids, parts.tables) == (8 * 4000, 4 * 16 * 64, 4 * 256 * 16 * 16)
    # A code of 3 subquantizers of 4 bits takes whole bytes.
    assert formulas.code_bytes("ivf_pq", four._replace(pq_m=3)) == 2


def test_no_table_without_residual_tables() -> None:
    for index_type, metric in [
        ("ivf_flat", "l2"),
        ("ivf_flat", "inner_product"),
        ("ivf_pq", "inner_product"),
    ]:
        of_modes = {formulas.memory(index_type, metric, SMALL, 20, mode) for mode in MODES}
        assert len(of_modes) == 1
        assert of_modes.pop().tables == 0


def test_a_table_that_faiss_does_not_build() -> None:
    """Above precomputed_table_max_bytes (2 GiB) the table is left out, without a word."""
    at_limit = SMALL._replace(nlist=2**17, vectors_per_segment=2**17)
    assert formulas.table_bytes("ivf_pq", "l2", at_limit) == 1 << 31
    assert formulas.table_bytes("ivf_pq", "l2", at_limit._replace(nlist=2**17 + 1)) == 0


@pytest.mark.parametrize(("index_type", "metric"), KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_segments_add_up(index_type: str, metric: str, mode: str) -> None:
    one, many = (formulas.memory(index_type, metric, SMALL, count, mode) for count in (1, 20))
    assert many.total == sum(many)
    for name in ("centroids", "pq_centroids", "codes", "ids", "graph"):
        assert getattr(many, name) == 20 * getattr(one, name)
    assert many.tables == (one.tables if mode == "shared" else 20 * one.tables)
    table = formulas.table_bytes(index_type, metric, SMALL)
    redundant = 19 * (one.centroids + one.pq_centroids) + (19 * table if mode == "default" else 0)
    assert formulas.redundant_bytes(index_type, metric, SMALL, 20, mode) == redundant
    assert formulas.redundant_bytes(index_type, metric, SMALL, 1, mode) == 0


def test_unknown_load_mode_is_no_zero() -> None:
    with pytest.raises(KeyError):
        formulas.memory("ivf_pq", "l2", SMALL, 2, "lazy")


def test_levels_are_those_that_faiss_draws() -> None:
    """Sizes of `hnsw.neighbors` of faiss 1.14.1 after adding so many vectors to an empty index."""
    assert formulas.links(16, 4000) == 131_872
    assert formulas.links(5, 1000) == 11_205
    assert formulas.links(32, 2000) == 129_824


def test_generator_is_that_of_c_plus_plus() -> None:
    """C++11, 26.5.5: the 10,000th value of a std::mt19937 that was seeded with 5489 is 4123659995."""
    generator = formulas._mersenne_twister(5489)
    values = [generator.getrandbits(32) for _ in range(10_000)]
    assert values[-1] == 4_123_659_995


def test_expected_links() -> None:
    """With M neighbours a node has M^-1 + M^-2 + … levels above the lowest: 1 / (M - 1)."""
    assert formulas.expected_links(16, 1000) == pytest.approx(1000 * 16 * (2 + 1 / 15), rel=1e-6)
    assert formulas.links(16, 50_000) == pytest.approx(formulas.expected_links(16, 50_000), rel=0.003)
    assert formulas.links(16, 2_000_000) == round(formulas.expected_links(16, 2_000_000))


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        (0, 0),
        (1, 32),
        (24, 32),
        (25, 48),
        (40, 48),
        (41, 64),
        (128 * 1024 - 1, 128 * 1024 + 16),
        (128 * 1024, 132 * 1024),
        (4 << 20, (4 << 20) + 4096),
    ],
)
def test_what_malloc_takes(size: int, taken: int) -> None:
    """glibc: a header of 8 bytes, multiples of 16, at least 32; from 128 KiB on whole pages and a header of 16."""
    assert formulas._allocated(size) == taken


def test_headers_of_lists_are_counted() -> None:
    """Two vectors of 80 bytes for each list (impl/maybe_owned_vector.h), and nothing more grows with the lists."""
    some, more = (
        formulas.memory(
            "ivf_flat", "l2", SMALL._replace(nlist=nlist, vectors_per_segment=1600), 1, "skip"
        ).containers
        for nlist in (100, 200)
    )
    headers = 2 * 80 * 100
    # Of each list malloc adds 8 to 24 bytes to its entries and to its ids.
    assert headers + 2 * 8 * 100 <= more - some <= headers + 2 * 24 * 100
