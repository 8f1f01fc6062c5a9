"""A cache of compiled dictionaries that is thrown away, and 1,500 reviews as a file."""

from __future__ import annotations

import pytest

from count_corpus import sentences


@pytest.fixture(autouse=True, scope="module")
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOESTRING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "reviews.txt"
    path.write_text("\n".join(sentences(1500)), encoding="utf-8")
    return path
