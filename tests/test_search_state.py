"""The file that a search goes on from: kept whole, and refused where it is another search's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sparing.compression.search.state import SearchState
from sparing.errors import FormatError, InputError

WHO = {"model": "abc", "seed": 0}


def test_what_was_put_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = SearchState(path, WHO)
    state.put("losses", {"a": 0.1, "b": math.inf})
    state.put("scores", {"c": 1 / 3})
    again = SearchState(path, WHO)
    assert again.get("losses", "a") == 0.1 and again.get("losses", "b") == math.inf
    assert again.get("scores", "c") == 1 / 3
    assert again.get("costs", "c") is None
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = SearchState(None, WHO)
    state.put("scores", {"c": 1.0})
    assert state.get("scores", "c") == 1.0 and not list(tmp_path.iterdir())


def test_another_searchs_file_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    SearchState(path, WHO).put("scores", {"c": 1.0})
    with pytest.raises(InputError, match="another search: seed differ"):
        SearchState(path, {**WHO, "seed": 1})


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"search": 1}', '{"search": {}, "losses": []}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"state\.json"):
        SearchState(path, WHO)


def test_an_absent_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        SearchState(tmp_path / "none" / "state.json", WHO)


def test_the_file_is_json_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    SearchState(path, WHO).put("losses", {"a": 0.25})
    assert json.loads(path.read_text()) == {
        "search": WHO,
        "losses": {"a": 0.25},
        "scores": {},
        "costs": {},
    }
