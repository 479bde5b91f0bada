"""Tables for terminals and Markdown."""

from mal_core.report.text_tables import LONGEST_CELL, markdown_table, text_table

LONG = "head" + "x" * 5000 + "tail"


def test_a_name_of_thousands_of_characters_leaves_the_table_readable() -> None:
    rows = [{"class": LONG, "AP": "0.5"}, {"class": "cat", "AP": "0.25"}]
    for table in (text_table(rows), markdown_table(rows)):
        assert max(map(len, table.splitlines())) < LONGEST_CELL + 20
        assert "head" in table
        assert "tail" in table
        assert "0.25" in table


def test_columns_are_aligned_and_markdown_is_escaped() -> None:
    assert text_table([{"a": "1", "b": "2"}, {"a": "333", "b": "4"}]).splitlines() == [
        "a    b",
        "1    2",
        "333  4",
    ]
    assert "\\|" in markdown_table([{"a": "x|y"}])
    assert (text_table([]), markdown_table([])) == ("", "")
