"""Whether search notices another version: measures of two searches, query by query, and a paired test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexscope.corpora.queries import Judgement
from indexscope.run_record import COMPLETED, FORMAT, InputError
from indexscope.settings.torch_versions import Search

COMPARISONS = ("own index", "index of left", "index of right")
SIGNIFICANCE = 0.05
NO_DIFFERENCE, WITHIN_CHANCE = "no difference", "within chance"
BEYOND_CHANCE, FAILED = "beyond chance", "search failed"

_SEED = 7  # of the random sign flips
_SAME = 1e-12  # values that differ by less differ in the order of a sum
_PAIR_KEYS = {"left_version", "right_version", "comparison", "left", "right"}


@dataclass(frozen=True)
class SearchPair:
    """Two searches to compare, as search_queries.py wrote them."""

    left_version: str
    right_version: str
    comparison: str  # one of COMPARISONS
    left: Path
    right: Path

    def columns(self) -> dict[str, str]:
        """What names the pair in both tables."""
        return {
            "left_version": self.left_version,
            "right_version": self.right_version,
            "comparison": self.comparison,
        }


@dataclass(frozen=True)
class SearchResult:
    """How a search went and, if it completed, the identifiers of what it found, best first, by query."""

    outcome: str
    detail: str | None
    rankings: Mapping[str, Sequence[str]]


class PairedTest(NamedTuple):
    """A two-sided p value and the number of sign assignments that it was computed from."""

    p_value: float
    permutations: int
    exact: bool


class Compared(NamedTuple):
    """Rows of schemas.TORCH_SEARCH, and of schemas.TORCH_SEARCH_QUERIES."""

    measures: list[dict[str, Any]]
    queries: list[dict[str, Any]]


def read_search_pairs(argument: str) -> list[SearchPair]:
    """Read a JSON list of pairs: left_version, right_version, comparison, left and right (files).

    Args:
        argument: the JSON itself, if it starts with `[`, else the path of a file that holds it.

    Raises:
        InputError: the file is missing, an entry is not of that form, or a pair's comparison is there twice.
    """
    inline = argument.lstrip().startswith("[")
    source = "--pairs" if inline else argument
    try:
        entries = json.loads(argument if inline else Path(argument).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as JSON ({error}): give a list of pairs") from error
    if not isinstance(entries, list):
        raise InputError(f"{source} is not a list: give a list of pairs")
    pairs: dict[tuple[str, ...], SearchPair] = {}
    for number, entry in enumerate(entries):
        texts = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
        if not texts or set(entry) != _PAIR_KEYS or entry["comparison"] not in COMPARISONS:
            raise InputError(
                f"{source}[{number}]: give the texts left_version, right_version, left, right, and a comparison "
                f"({', '.join(COMPARISONS)}), not {entry!r}"
            )
        pair = SearchPair(**{**entry, "left": Path(entry["left"]), "right": Path(entry["right"])})
        key = tuple(pair.columns().values())
        if key in pairs:
            raise InputError(f"{source}[{number}]: {' | '.join(key)} is there twice; give it once")
        pairs[key] = pair
    return list(pairs.values())


def read_search(path: Path) -> SearchResult:
    """Read what search_queries.py wrote.

    Raises:
        InputError: the file is missing, damaged, or its ranks are not 1, 2, 3, … for each query.
    """
    again = "run search_queries.py again"
    try:
        with path.open(encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON lines ({error}): {again}") from error
    if not records or records[0].get("format") != FORMAT or "outcome" not in records[0]:
        raise InputError(f"{path}: line 1 does not say how the search went: {again}")
    header, rankings = records[0], dict[str, list[str]]()
    for number, record in enumerate(records[1:], start=2):
        try:
            ranking = rankings.setdefault(record["query_id"], [])
            document_id, rank = record["document_id"], record["rank"]
        except (KeyError, TypeError):
            raise InputError(f"{path}: line {number} lacks query_id, rank or document_id: {again}") from None
        if rank != len(ranking) + 1 or document_id in ranking:
            raise InputError(
                f"{path}: line {number}: rank {rank}, document {document_id!r} does not go on the ranking of "
                f"query {record['query_id']!r}: {again}"
            )
        ranking.append(document_id)
    return SearchResult(header["outcome"], header.get("detail"), rankings)


def compare_pair(pair: SearchPair, qrels: Sequence[Judgement], settings: Search) -> Compared:
    """Compare two searches by all measures.

    A query for which a search found nothing counts 0.

    Raises:
        InputError: a search's file is missing or damaged, or it searched for queries that `qrels` lacks.
    """
    left, right = read_search(pair.left), read_search(pair.right)
    if (left.outcome, right.outcome) != (COMPLETED, COMPLETED):
        return Compared([_failed_row(pair, left, right, name) for name in measure_names(settings.k)], [])
    query_ids = list(dict.fromkeys(judgement.query_id for judgement in qrels))
    for path, side in ((pair.left, left), (pair.right, right)):
        if unknown := side.rankings.keys() - set(query_ids):
            raise InputError(
                f"{path}: query {min(unknown)!r} has no judgement; give the judgements that were made with the "
                "queries"
            )
    tops = [
        [list(side.rankings.get(query_id, ()))[: settings.k] for query_id in query_ids]
        for side in (left, right)
    ]
    differing = [len(set(first) ^ set(second)) for first, second in zip(*tops, strict=True)]
    same = [first == second for first, second in zip(*tops, strict=True)]
    shared = {
        "queries": len(query_ids),
        "differing_passages": float(np.mean(differing)),
        "same_ranking": float(np.mean(same)),
    }
    left_values, right_values = (
        query_values(qrels, dict(zip(query_ids, top, strict=True)), settings.k) for top in tops
    )
    compared = Compared([], [])
    for name in measure_names(settings.k):
        before = [left_values[name][query_id] for query_id in query_ids]
        after = [right_values[name][query_id] for query_id in query_ids]
        compared.measures.append(
            {
                **pair.columns(),
                "left_outcome": left.outcome,
                "right_outcome": right.outcome,
                "measure": name,
                **shared,
                **compare_values(before, after, settings.permutations),
            }
        )
        compared.queries.extend(
            {
                **pair.columns(),
                "query_id": query_id,
                "measure": name,
                "left_value": first,
                "right_value": second,
                "differing_passages": passages,
            }
            for query_id, first, second, passages in zip(query_ids, before, after, differing, strict=True)
        )
    return compared


def measure_names(k: int) -> list[str]:
    """How tables call the measures."""
    return [f"Recall@{k}", f"MRR@{k}", f"nDCG@{k}"]


def query_values(
    qrels: Sequence[Judgement], rankings: Mapping[str, Sequence[str]], k: int
) -> dict[str, dict[str, float]]:
    """Recall, reciprocal rank and nDCG of the first k, by measure and query; 0 for a query without a ranking.

    Computed by ir_measures: R@k, RR@k (MRR is its mean) and nDCG@k with the relevance as the gain and a
    logarithmic discount, https://ir-measur.es/en/latest/measures.html. It ranks by score, ties in an order of its
    own; the scores that it is given are the ranks, so what ColBERT scored equally stays as ColBERT ranked it.
    """
    import ir_measures
    from ir_measures import RR, R, nDCG

    names = dict(zip([R @ k, RR @ k, nDCG @ k], measure_names(k), strict=True))
    judged = [ir_measures.Qrel(*judgement) for judgement in qrels]
    found = [
        ir_measures.ScoredDoc(query_id, document_id, float(-rank))
        for query_id, ranking in rankings.items()
        for rank, document_id in enumerate(ranking, start=1)
    ]
    values = {
        name: dict.fromkeys((judgement.query_id for judgement in qrels), 0.0) for name in names.values()
    }
    for metric in ir_measures.iter_calc(list(names), judged, found):
        values[names[metric.measure]][metric.query_id] = float(metric.value)
    return values


def compare_values(left: Sequence[float], right: Sequence[float], permutations: int) -> dict[str, Any]:
    """Means, changes, test and verdict of one measure, as columns of schemas.TORCH_SEARCH."""
    before, after = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    differences = after - before
    differences[np.abs(differences) < _SAME] = 0.0
    changed = np.count_nonzero(differences)
    test = sign_flip_test(differences, permutations)
    verdict = WITHIN_CHANCE if test.p_value >= SIGNIFICANCE else BEYOND_CHANCE
    return {
        "left_mean": float(before.mean()),
        "right_mean": float(after.mean()),
        "change": float(differences.mean()),
        "increased": int((differences > 0).sum()),
        "equal": int((differences == 0).sum()),
        "decreased": int((differences < 0).sum()),
        "p_value": test.p_value,
        "permutations": test.permutations,
        "verdict": verdict if changed else NO_DIFFERENCE,
        "detail": _about(test, int(changed)) if changed else None,
    }


def sign_flip_test(differences: NDArray[np.float64], permutations: int) -> PairedTest:
    """The paired two-sided permutation test of a mean difference of 0: each difference's sign is flipped or not.

    Exact, over all 2**n assignments of signs, where these are no more than `permutations`; else that many
    random ones, seeded, and (count + 1) / (permutations + 1). Differences of 0 have no sign: they change
    neither the p value nor the number of assignments. Where there is no other, p is 1.
    """
    signed = differences[differences != 0]
    if len(signed) < 2:  # however its sign is, the mean is as far from 0
        return PairedTest(1.0, 2 ** len(signed), True)

    from scipy.stats import permutation_test

    result = permutation_test(
        (signed,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, 2**20 // len(signed)),
        rng=np.random.default_rng(_SEED),
    )
    resamples = len(result.null_distribution)
    return PairedTest(min(float(result.pvalue), 1.0), resamples, 2 ** len(signed) <= permutations)


def _about(test: PairedTest, changed: int) -> str:
    """What the p value is."""
    how = f"all {test.permutations}" if test.exact else f"{test.permutations} random"
    text = (
        f"p of a two-sided paired sign-flip test, {how} assignments of signs, not corrected for several tests"
    )
    smallest = 2 / 2**changed
    if smallest >= SIGNIFICANCE:
        text += f"; with {_counted(changed, 'query', 'queries')} that changed it cannot be below {min(smallest, 1):.2g}"
    return text


def _failed_row(pair: SearchPair, left: SearchResult, right: SearchResult, measure: str) -> dict[str, Any]:
    sides = ((pair.left_version, left), (pair.right_version, right))
    return {
        **pair.columns(),
        "left_outcome": left.outcome,
        "right_outcome": right.outcome,
        "measure": measure,
        "verdict": FAILED,
        "detail": "; ".join(
            f"{version}: {side.detail or side.outcome}"
            for version, side in sides
            if side.outcome != COMPLETED
        ),
    }


def search_sentences(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each comparison of rows of schemas.TORCH_SEARCH: what changed, and whether by chance."""
    return [_sentence(group) for group in _comparisons(rows)]


def search_verdict(rows: Iterable[Mapping[str, Any]]) -> str:
    """Whether search notices, in one sentence, over all comparisons of rows of schemas.TORCH_SEARCH."""
    groups = _comparisons(rows)
    if not groups:
        return "Nothing was searched."
    searched = [group for group in groups if group[0]["verdict"] != FAILED]
    failed = len(groups) - len(searched)
    missing = f" {_counted(failed, 'comparison', 'comparisons')} could not be made." if failed else ""
    if not searched:
        none = f"none of {failed} comparisons could" if failed > 1 else "the one comparison could not"
        return f"It is not known whether search notices: {none} be made."
    tests = [row for group in searched for row in group]
    beyond = [row for row in tests if row["verdict"] == BEYOND_CHANCE]
    made = _counted(len(searched), "comparison", "comparisons")
    if beyond:
        which = "; ".join(f"{row['measure']} of {_name(row)}, {_change(row)}" for row in beyond)
        text = (
            f"Search notices: {len(beyond)} of {_counted(len(tests), 'test', 'tests')} in {made} "
            f"{'is' if len(beyond) == 1 else 'are'} beyond chance ({which})."
        )
        # That many tests at 0.05 give such results by themselves.
        return text + f" By chance alone about {SIGNIFICANCE * len(tests):.2g} would be." + missing
    if all(group[0]["same_ranking"] == 1 for group in searched):
        where = f"all {made}" if len(searched) > 1 else "the one comparison"
        return f"Search does not notice: every query has the same ranking in {where}.{missing}"
    where = f"any of {made}" if len(searched) > 1 else "the one comparison"
    if all(row["verdict"] == NO_DIFFERENCE for row in tests):
        return f"Some rankings differ, but no query's measures change in {where}.{missing}"
    return f"Measures of some queries change, but no change is beyond chance in {where}.{missing}"


def _comparisons(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The rows of each comparison, in their order."""
    return [list(group) for _, group in groupby(rows, _name)]


def _name(row: Mapping[str, Any]) -> str:
    searched = {
        "own index": "own index",
        "index of left": f"index of {row['left_version']}",
        "index of right": f"index of {row['right_version']}",
    }[row["comparison"]]
    return f"{row['left_version']} | {row['right_version']}, {searched}"


def _sentence(group: Sequence[Mapping[str, Any]]) -> str:
    first = group[0]
    if first["verdict"] == FAILED:
        return f"{_name(first)}: search failed ({first['detail']})."
    k, queries = first["measure"].rpartition("@")[2], int(first["queries"])  # pandas: a float beside nulls
    other = queries - round(first["same_ranking"] * queries)
    has = "has" if other == 1 else "have"
    start = f"{_name(first)}: {other} of {_counted(queries, 'query', 'queries')} {has} another top {k}"
    if not other:
        start = f"{_name(first)}: {_everyone(queries)} the same top {k}"
    changes = [row for row in group if row["verdict"] != NO_DIFFERENCE]
    if not changes:
        return f"{start}; no measure changes."
    unchanged = [row["measure"] for row in group if row["verdict"] == NO_DIFFERENCE]
    parts = [f"{row['measure']} changes by {_change(row)}: {row['verdict']}" for row in changes]
    parts += [f"{' and '.join(unchanged)} {'does' if len(unchanged) == 1 else 'do'} not change"] * bool(
        unchanged
    )
    return f"{start}; {'; '.join(parts)}."


def _everyone(queries: int) -> str:
    return "the one query has" if queries == 1 else f"all {queries} queries have"


def _change(row: Mapping[str, Any]) -> str:
    return f"{row['change']:+.2g} (p {_p(row['p_value'])})"


def _p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
