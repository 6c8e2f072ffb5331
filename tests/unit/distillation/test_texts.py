"""What text that is given to the library is read as."""

from alm_lightning.corpus.sources.files import JsonLines
from alm_lightning.distillation.texts import source_of


def test_the_kind_of_a_folder_is_that_of_files_behind_a_link(tmp_path):
    elsewhere, data = tmp_path / "elsewhere", tmp_path / "data"
    elsewhere.mkdir()
    data.mkdir()
    (elsewhere / "a.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (data / "link").symlink_to(elsewhere)
    source = source_of(data, column=None, name="data")
    assert isinstance(source, JsonLines)
    assert [document.text for document in source.documents()] == ["a"]
