"""The documentation names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/**/*.md"),
        *REPOSITORY.glob("*/README.md"),
        *REPOSITORY.glob("config/published/README.md"),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    missing = [link for link in inside if not (page.parent / link).exists()]
    assert not missing


def test_every_page_is_linked_from_the_readme_or_a_page_that_it_links() -> None:
    seen: set[Path] = set()
    pending = [REPOSITORY / "README.md"]
    while pending:
        page = pending.pop().resolve()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        pending += [page.parent / link for link in links if not re.match(r"[a-z]+:", link)]
    docs = {page.resolve() for page in REPOSITORY.glob("docs/*.md")}
    assert docs <= seen, docs - seen


def test_every_config_file_and_program_that_pages_name_is_there() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(
            r"\b(?:config|workflow/scripts|benchmarks|tools)/[\w/.-]+\.(?:yaml|py)\b", text
        ):
            made = "extending.md" in page.name  # tells which files to make
            assert made or (REPOSITORY / name).exists(), f"{page}: {name}"
