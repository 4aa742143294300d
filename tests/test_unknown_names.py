"""An unknown name gives the same line wherever it is found."""

import pytest

from envs.arguments import unknown_name as unknown_argument
from flows.errors import unknown_name
from routing.errors import unknown_name as unknown_routing_name


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("naiv", "unknown method 'naiv'; did you mean 'naive'? one of filtering, naive, oracle"),
        ("xyz", "unknown method 'xyz'; one of filtering, naive, oracle"),
    ],
)
def test_an_unknown_name_gives_one_text_in_every_package(word, line):
    known = ("filtering", "naive", "oracle")
    assert unknown_argument("method", word, known) == line
    assert str(unknown_name("method", word, known)) == line
    assert str(unknown_routing_name("method", word, known)) == line
