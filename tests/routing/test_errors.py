"""The error for an unknown name has one format in the whole repository."""

import pytest

from routing.errors import unknown_name


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("routng", ["routing", "naive"], "unknown method 'routng'; did you mean 'routing'? one of naive, routing"),
        ("xyz", ["routing", "naive"], "unknown method 'xyz'; one of naive, routing"),
        ("xyz", [], "unknown method 'xyz'; one of (none)"),
        (3, ["a"], "unknown method 3; one of a"),
    ],
)
def test_an_unknown_name_is_reported_with_the_nearest_and_all_names(name, known, text):
    assert str(unknown_name("method", name, known)) == text


def test_a_long_list_of_names_is_cut():
    assert str(unknown_name("unit", "q", list("abcd"), shown=2)).endswith("one of a, b and 2 more")
