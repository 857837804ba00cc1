"""From where a PLAID index that was interrupted is gone on with, decided from its files. Standard library only.

ColBERT's own `resume` trusts what is there: a plan without a codec ends it with an AttributeError (colbert-ai issue
398), and of a chunk it asks only whether the files exist. So what is not whole is removed first, and ColBERT then
finds either a stage that was finished or nothing of it:

* a plan without a whole codec: both are made again (the sample that the codec is trained on is of the plan);
* a chunk, of which a file is missing, cut off, damaged or of another size than its metadata say: encoded again;
* all that follows the chunks (IVF, metadata.json, what RAGatouille writes beside them): always made again.

Sampling and k-means are seeded where ColBERT starts (`set_seed` in colbert/infra/launcher.py), and a chunk is encoded
from nothing but its passages, so that an index which was gone on with is the one that would have been built at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
import zlib
from typing import Any, Dict, List, Optional, Set

PLAN = "plan.json"
CODEC = ("centroids.pt", "buckets.pt", "avg_residual.pt")
IVF = ("ivf.pid.pt", "metadata.json")
_PLAN_KEYS = ("num_chunks", "num_partitions", "num_embeddings_est", "avg_doclen_est")
_CHUNK_FILE = re.compile(r"doclens\.(\d+)\.json|(\d+)\.(?:codes\.pt|residuals\.pt|metadata\.json)")


def chunk_files(chunk: int) -> List[str]:
    """The files of a chunk, in the order in which IndexSaver writes them."""
    return [
        "%d.codes.pt" % chunk,
        "%d.residuals.pt" % chunk,
        "doclens.%d.json" % chunk,
        "%d.metadata.json" % chunk,
    ]


def tidy(folder: str) -> Optional[Dict[str, Any]]:
    """Remove from an unfinished index all that is not whole; `resume` of ColBERT goes on with the rest.

    Returns:
        None where nothing of an index is there, else from: the stage that is next (plan, chunk 2, IVF); kept: the
        stages that are whole; redone: what was begun, and why it has to be made again.
    """
    present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    if not present:
        return None
    kept: List[str] = []
    redone: List[str] = []
    keep: Set[str] = set()
    plan = _plan(folder)
    codec = _codec_problem(folder, present, plan) if plan is not None else None
    if plan is None:
        redone.append("plan (incomplete)")
    elif codec is not None:
        redone += ["plan (without a codec)"] + (["codec (%s)" % codec] if present & set(CODEC) else [])
    else:
        kept += ["plan", "codec"]
        keep.update((PLAN, *CODEC))
        end: Optional[int] = 0  # passages up to here; None: not known, as a chunk before is missing
        for chunk in range(plan["num_chunks"]):
            begun = present & set(chunk_files(chunk))
            problem = _chunk_problem(folder, chunk, plan, end) if begun else "not begun"
            if problem is None:
                kept.append("chunk %d" % chunk)
                keep.update(chunk_files(chunk))
                metadata = _json(os.path.join(folder, "%d.metadata.json" % chunk))
                end = metadata["passage_offset"] + metadata["num_passages"]
            else:
                end = None
                if begun:
                    redone.append("chunk %d (%s)" % (chunk, problem))
        if present & set(IVF):
            redone.append("IVF")
    for name in present - keep:
        _remove(os.path.join(folder, name))
    return {"from": _next(plan, kept), "kept": kept, "redone": redone}


def has_codec(folder: str) -> bool:
    """Whether a codec is there, and its files can be read."""
    return all(_is_whole(os.path.join(folder, name)) for name in CODEC)


def stage(folder: str) -> Optional[str]:
    """What is being made in an index folder, judged by which files are there; None where there is no folder yet."""
    try:
        present = set(os.listdir(folder))
    except OSError:
        return None
    if present & set(IVF):
        return "IVF"
    chunks = [next(filter(None, match.groups())) for match in map(_CHUNK_FILE.fullmatch, present) if match]
    if chunks:
        last = max(map(int, chunks))
        # A chunk's metadata are its last file.
        return "chunk %d" % (last + ("%d.metadata.json" % last in present))
    if set(CODEC) <= present:
        return "chunk 0"
    return "codec" if PLAN in present else "plan"


def _next(plan: Optional[Dict[str, Any]], kept: List[str]) -> str:
    if not kept or plan is None:
        return "plan"
    missing = [chunk for chunk in range(plan["num_chunks"]) if "chunk %d" % chunk not in kept]
    return "chunk %d" % missing[0] if missing else "IVF"


def _plan(folder: str) -> Optional[Dict[str, Any]]:
    plan = _json(os.path.join(folder, PLAN))
    if not isinstance(plan, dict) or not all(key in plan for key in _PLAN_KEYS):
        return None
    known = plan.get("config")
    if not isinstance(known, dict) or not all(_is_count(known.get(name)) for name in ("dim", "nbits")):
        return None
    return plan if _is_count(plan["num_chunks"]) and _is_count(plan["num_partitions"]) else None


def _codec_problem(folder: str, present: Set[str], plan: Dict[str, Any]) -> Optional[str]:
    """What is wrong with the codec; None where it is whole. centroids: (partitions, dim), float16."""
    if not set(CODEC) <= present:
        return "incomplete"
    centroids = plan["num_partitions"] * plan["config"]["dim"] * 2
    for name, size in ((CODEC[0], centroids), (CODEC[1], None), (CODEC[2], None)):
        if not _is_whole(os.path.join(folder, name), size):
            return "damaged: %s" % name
    return None


def _chunk_problem(folder: str, chunk: int, plan: Dict[str, Any], offset: Optional[int]) -> Optional[str]:
    """What is wrong with a chunk whose first passage is `offset` (None: not known); None where it is whole.

    codes: (embeddings,), int32; residuals: (embeddings, dim x nbits / 8), uint8.
    """
    codes, residuals, doclens, metadata = chunk_files(chunk)
    if not all(os.path.exists(os.path.join(folder, name)) for name in chunk_files(chunk)):
        return "incomplete"
    said = _json(os.path.join(folder, metadata))
    counts = ("passage_offset", "num_passages", "num_embeddings")
    if not isinstance(said, dict) or not all(_is_count(said.get(name), least=0) for name in counts):
        return "damaged: %s" % metadata
    if offset is not None and said["passage_offset"] != offset:
        return "damaged: %s" % metadata
    lengths = _json(os.path.join(folder, doclens))
    if not isinstance(lengths, list) or not all(_is_count(length, least=0) for length in lengths):
        return "damaged: %s" % doclens
    embeddings = said["num_embeddings"]
    if len(lengths) != said["num_passages"] or sum(lengths) != embeddings:
        return "damaged: %s" % doclens
    config = plan["config"]
    for name, size in (
        (codes, 4 * embeddings),
        (residuals, embeddings * (config["dim"] * config["nbits"] // 8)),
    ):
        if not _is_whole(os.path.join(folder, name), size):
            return "damaged: %s" % name
    return None


def _is_whole(path: str, size: Optional[int] = None) -> bool:
    """Whether a file that torch.save wrote can be read, its checksums hold, and its tensors have `size` bytes.

    Such a file is a ZIP archive whose directory is written last; tensors' values are its members `…/data/N`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tensors = [
                each.file_size for each in archive.infolist() if re.search(r"/data/\d+$", each.filename)
            ]
            return archive.testzip() is None and bool(tensors) and size in (None, sum(tensors))
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
        return False


def _json(path: str) -> Any:
    """What a JSON file holds; None where it is missing or cut off."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)
