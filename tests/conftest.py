"""Fixtures that several test files use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the larger models and photos; tests that need it are skipped without it."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("SPARING_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} (set SPARING_SHARED to the one with models and photos)")
    return folder
