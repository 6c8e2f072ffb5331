"""What MkDocs builds besides the pages of `docs/`: configuration, API, changelog, contributing."""

import re
from pathlib import Path

import generate_configuration
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src"
PROJECT = "alm_lightning"
FROM_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md")
"""Files of the repository that are pages as well."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages; called by MkDocs."""
    pages = generate_configuration.pages() | api_pages() | root_pages()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def root_pages() -> dict[str, str]:
    """Files at the root of the repository, with links as seen from the site."""
    pages = {}
    for name in FROM_ROOT:
        text = (REPOSITORY / name).read_text("utf-8")
        pages[name.lower()] = re.sub(r"\]\(docs/", "](", text)
    return pages


def api_pages() -> dict[str, str]:
    """A page for each package: what it is, and its public modules."""
    pages = {}
    for package in sorted((SOURCE / PROJECT).glob("*/__init__.py")):
        name = package.parent.name
        parts = [f"# {name}", f"::: {PROJECT}.{name}\n    options:\n      members: []"]
        for path in sorted(package.parent.glob("**/*.py")):
            module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            if path.stem.startswith("__"):
                continue
            parts.append(f"## {module.removeprefix(f'{PROJECT}.')}\n\n::: {module}")
        pages[f"api/{name}.md"] = "\n\n".join(parts) + "\n"
    return pages
