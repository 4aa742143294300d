"""The grammar of arms, as properties over generated text, and its errors."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.oversight.grammar import Call, parse_assignment, parse_call, parse_name, split_outside

NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
NUMBERS = st.integers(-1000, 1000) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
VALUES = NUMBERS | st.booleans() | NAMES.filter(lambda text: text not in ("true", "false", "null", "NaN", "Infinity"))
CALLS = st.builds(
    Call,
    NAMES,
    st.lists(VALUES, max_size=3).map(tuple),
    st.dictionaries(NAMES, VALUES, max_size=3).map(lambda found: tuple(sorted(found.items()))),
)


@given(CALLS)
def test_a_call_is_read_back_as_it_is_written(call):
    assert parse_call(str(call)) == call


@given(st.lists(CALLS, min_size=1, max_size=4))
def test_a_list_is_split_outside_of_calls_only(calls):
    assert split_outside(",".join(map(str, calls)), ",") == [str(call) for call in calls]


def refusal(read, text: str) -> str:
    """The text of the error, or nothing."""
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


@given(st.text('ab(),=@+"[]{} 1', max_size=12))
def test_any_text_is_read_or_refused_in_one_line(text):
    for read in (parse_call, parse_name, parse_assignment, lambda text: split_outside(text, ",")):
        assert "\n" not in refusal(read, text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a,b", ["a", "b"]),
        ("a(b,c),d", ["a(b,c)", "d"]),
        ("a([1,2]),{b,c}", ["a([1,2])", "{b,c}"]),
        ('a(","),b', ['a(",")', "b"]),
        ("a , b", ["a", "b"]),
        ("", [""]),
    ],
)
def test_separators_in_brackets_and_quotes_do_not_split(text, pieces):
    assert split_outside(text, ",") == pieces


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a(b", r"lacks a closing '\)'"),
        ("a)b", "without its opening bracket"),
        ("a(b]", "without its opening bracket"),
        ('a("b)', "lacks a closing"),
        ("(b)", "no name before its arguments"),
        ("a(b)c", "after its closing bracket"),
        ("a(b,,c)", "empty argument"),
        ("a(b=1,b=2)", "sets b twice"),
        ("a(b=1,2)", "after a named argument"),
        ("", "write NAME"),
        ("a b", "write NAME"),
    ],
)
def test_text_of_another_form_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_call(text)


def test_values_are_json_or_text():
    assert parse_call('a(1,2.5,true,"x,y",[1,2],ghost)').args == (1, 2.5, True, "x,y", [1, 2], "ghost")
