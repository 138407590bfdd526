"""Conditions on fields: what they mean, and that nothing of them is run."""

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import ParameterError
from shoestring.search.where import add_functions, condition

RECORDS = {
    "a": {"lang": "de", "year": 2021, "open": True, "a b": 'say "x"', "zip": "01067"},
    "b": {"lang": "en", "year": "2019", "open": "false", "zip": 10115},
    "c": {"lang": "中文", "year": "unknown"},
}


def matching(where):
    with closing(sqlite3.connect(":memory:")) as connection:
        add_functions(connection)
        connection.execute("CREATE TABLE records (id TEXT, text TEXT, fields TEXT)")
        rows = [(id, f"text of {id}", json.dumps(fields)) for id, fields in RECORDS.items()]
        connection.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
        sql, parameters = condition(where, "query")
        found = connection.execute(f"SELECT id FROM records WHERE {sql}", parameters)
        return "".join(id for (id,) in found)


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("lang = 'de'", "a"),
        ("lang == 'de' or lang = '中文'", "ac"),
        ("lang <> 'de'", "bc"),
        ("year >= 2020", "a"),
        ("year < 2020", "b"),  # a number that a table has as text; "unknown" is none
        ("year in (2019, 2021)", "ab"),
        ("not year in (2019, 2021)", ""),  # of "unknown" it is not known
        ("year not in (2019)", "a"),
        ("zip = '10115' or zip = '01067'", "ab"),
        ("open = true", "a"),
        ("open = FALSE", "b"),
        ("open is null", "c"),
        ("open is not null and not (lang = 'en')", "a"),
        ("lang = 'de' or lang = 'en' and year > 2020", "a"),
        ("(lang = 'de' or lang = 'en') and year > 2000", "ab"),
        ("""\"a b\" = 'say "x"'""", "a"),
        ("lang like '%e%'", "ab"),
        ("nothing = 1", ""),
        ("id in ('a', 'c')", "ac"),
        ("text like '%of b'", "b"),
        ({"lang": "de"}, "a"),
        ({"lang": ["de", "en"], "year": 2019}, "b"),
        ({"open": False}, "b"),
    ],
)
def test_what_a_condition_means(where, ids):
    assert matching(where) == ids


@pytest.mark.parametrize(
    "where",
    [
        *("", "  ", "lang", "lang =", "lang = de", "(lang = 'de'", "lang = 'de')", "= 'de'"),
        *("lang = 'de' year = 1", "lang = 'de'; DROP TABLE records", "lang not = 'de'", "a in ()"),
        *("a in (1", "a is 1", "a like", "1 = 1", "'a' = 'a'", "a = 'x", "a = 1 --", "a = (1)"),
        *(3, [], {}, {"a": None}, {1: "a"}, {"a": []}, {"a": [None]}),
    ],
)
def test_what_is_no_condition_is_told(where):
    with pytest.raises(ParameterError, match="where"):
        condition(where, "query")


@given(st.text(), st.text())
def test_names_and_values_are_never_run(name, value):
    quoted = '"' + (name.replace('"', '""') or "x") + '"'
    sql, parameters = condition(f"{quoted} = '{value.replace(chr(39), chr(39) * 2)}'", "query")
    assert sql in [
        f"CAST({column} AS TEXT) = ?" for column in ("json_extract(fields, ?)", "id", "text")
    ]
    assert parameters[-1] == value


@given(st.text(alphabet="ab'\"()=<>! ,01.andorINtisul%\n"))
def test_any_text_is_read_or_told(text):
    try:
        matching(text)
    except ParameterError as error:
        assert "where" in str(error)
