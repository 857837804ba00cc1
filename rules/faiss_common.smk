# What the rules of faiss_tables share: which segments are built, and which are loaded by which grid.

FAISS_TABLES = [
    "faiss_memory",
    "faiss_estimates",
    "faiss_alternatives",
    "faiss_latency",
    "faiss_break_even",
    "faiss_published",
]
# Name of the two tables of a grid → the grid's key in the configuration.
FAISS_GRIDS = {"faiss": "grid", "faiss_rfc": "rfc"}
FAISS_LOCK = lock_of(SETTINGS.faiss_tables.environment)

# Library files of programs that run in the environment of faiss.
FAISS_FILES = library("run_record.py", *python_files("faiss_tables"))
FAISS_ANALYSIS = library(
    "schemas.py",
    "run_record.py",
    "faiss_tables/formulas.py",
    "analysis/measured_rows.py",
    *(name for name in python_files("analysis") if name.startswith("analysis/faiss_")),
)


def faiss_segments():
    """Segments by the name of their folder, and grid → part → folder."""
    contents, parts = {}, {}
    for grid in FAISS_GRIDS.values():
        settings = getattr(SETTINGS.faiss_tables, grid)
        parts[grid] = {}
        for index_type in settings.index_types:
            for metric in settings.metrics:
                content = {
                    "index_type": index_type,
                    "metric": metric,
                    "segments": max(settings.segments),
                    "geometry": settings.geometry.model_dump(),
                }
                digest = configuration.digest(
                    settings.geometry, FAISS_LOCK, content["segments"]
                )
                folder = f"{index_type}-{metric}-{content['segments']}-{digest}"
                contents[folder] = content
                parts[grid][
                    f"{index_type}-{metric}"
                ] = f"results/faiss_segments/{folder}"
    return contents, parts


FAISS_SEGMENTS, FAISS_PARTS = faiss_segments()


def faiss_settings(grid):
    """A grid as measure_faiss_memory.py takes it."""
    settings = getattr(SETTINGS.faiss_tables, grid)
    return json.dumps(
        {
            "segments": settings.segments,
            "load_modes": settings.load_modes,
            "repeats": settings.repeats,
            "memory_limit_mib": settings.memory_limit_mib,
            "threads": SETTINGS.faiss_tables.threads,
            "timeout_seconds": SETTINGS.faiss_tables.timeout_seconds,
            "lock_digest": FAISS_LOCK,
        }
    )


FAISS_RFC_MEMORY = Path(RESULTS) / "tables" / "faiss_rfc_memory.parquet"


def faiss_rfc_table():
    return f"--rfc {FAISS_RFC_MEMORY}" if FAISS_RFC_MEMORY.exists() else ""


def faiss_rfc_digest():
    """Changes with what was measured, so that the table is made anew."""
    if not FAISS_RFC_MEMORY.exists():
        return ""
    return hashlib.sha256(FAISS_RFC_MEMORY.read_bytes()).hexdigest()[:16]
