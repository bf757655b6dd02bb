"""Users from the rows of a table."""

import pandas
import pytest
from instantaudience import block, from_table, user


def test_rows_of_a_user_are_joined(subtests: pytest.Subtests) -> None:
    """Whether columns with empty cells are of numbers with NaN, or of pandas' own types with NA."""
    for is_nullable in [False, True]:
        with subtests.test(is_nullable=is_nullable):
            table = pandas.DataFrame(
                {
                    "user_id": [1, 1, 2, 1],
                    "domain": [None, None, "idfa", None],
                    "seg_id": [7, 8, 7, 9],
                    "value": [5, None, 6, None],
                    "expiration": [-1, 0, 60, 60],
                }
            )
            assert list(from_table(table.convert_dtypes() if is_nullable else table)) == [
                user(1, block(7, value=5, expiration=-1), block(8, expiration=0)),
                user(2, block(7, value=6, expiration=60), domain="idfa"),
                user(1, block(9, expiration=60)),
            ]


def test_columns_of_other_names() -> None:
    table = pandas.DataFrame({"who": ["a"], "what": ["tea"], "owner": [3]})
    names = {"user_id": "who", "seg_code": "what", "member_id": "owner"}
    assert list(from_table(table, names)) == [user("a", block(seg_code="tea", member_id=3))]


def test_columns_that_are_missing(subtests: pytest.Subtests) -> None:
    for columns, text in [({"value": "worth"}, "no column worth"), ({}, "no column user_id")]:
        with subtests.test(columns=columns, text=text), pytest.raises(ValueError, match=text):
            from_table(pandas.DataFrame({"seg_id": [7]}), columns)


def test_user_ids_that_are_floats_are_taken_as_far_as_they_are_exact() -> None:
    """A column of integers with empty cells is one of floats, in pandas."""
    table = pandas.DataFrame({"user_id": [None, 2**53 - 1, 2**53 + 1, 1], "seg_id": [7, 7, 7, 7]})
    assert [user.user_id for user in from_table(table[:2])] == ["", str(2**53 - 1)]
    with pytest.raises(ValueError, match="floats are exact below 2\\^53 only"):
        list(from_table(table[2:]))


def test_numbers_that_would_be_others_are_refused(subtests: pytest.Subtests) -> None:
    for field, number in [
        ("seg_id", 7.5),
        ("value", 0.1),
        ("expiration", float("inf")),
        ("member_id", 2**31),
        ("value", "2147483648"),
        ("seg_id", "tea"),
    ]:
        with subtests.test(field=field, number=number):
            table = pandas.DataFrame({"user_id": ["a"], "seg_id": [7]} | {field: [number]})
            with pytest.raises(ValueError, match=f"{field}: .* is no whole number from -2147483648 to 2147483647"):
                list(from_table(table))


def test_numbers_may_be_text() -> None:
    table = pandas.DataFrame({"user_id": ["a"], "seg_id": ["7"], "value": ["-5"]})
    assert list(from_table(table)) == [user("a", block(7, value=-5))]


def test_user_ids_with_a_fraction_are_refused() -> None:
    with pytest.raises(ValueError, match=r"user_id: 5\.5 is no whole number"):
        list(from_table(pandas.DataFrame({"user_id": [5.5]})))


def test_codes_of_digits_are_codes_where_cells_are_empty() -> None:
    """A column of integers with empty cells is one of floats, in pandas."""
    table = pandas.DataFrame({"user_id": ["a", "b"], "seg_code": [101, None], "member_id": 3, "seg_id": [None, 7]})
    assert [each.seg_block[0].seg_code for each in from_table(table)] == ["101", ""]
