"""What docstrings, comments and messages cite of the documents is there."""

import re

from tests.runs import REPOSITORY

CITED = re.compile(r"\b(?P<document>(?:docs/(?:\w+/)*)?\w+\.md)(?:, section (?P<section>\d+))?")
OTHERS = ("docs/gguf.md",)
"""Of other projects: ggml's."""


def cited():
    for folder in ("src", "conf", "benchmarks", "tests"):
        for path in sorted((REPOSITORY / folder).glob("**/*")):
            if path.suffix in (".py", ".yaml") and path.name != "test_documented_commands.py":
                # a citation may go on in the next line of a comment or a docstring
                text = re.sub(r"\s*\n\s*(# )?", " ", path.read_text(encoding="utf-8"))
                for match in CITED.finditer(text):
                    yield path, match["document"], match["section"]


def test_citations_of_documents_lead_somewhere():
    found = list(cited())
    assert sum(section is not None for _, _, section in found) >= 12
    for path, document, section in found:
        if document in OTHERS or not document.startswith("docs/"):
            continue
        place = REPOSITORY / document
        assert place.is_file(), f"{path}: {document}"
        if section is not None:
            headings = place.read_text(encoding="utf-8")
            assert re.search(rf"^## {section}\. ", headings, re.MULTILINE), f"{path}: {section}"


def test_the_method_is_cited_by_its_path():
    # a name without its folder once stood for a file that nobody had
    assert {document for _, document, _ in cited() if "method" in document} == {"docs/method.md"}
