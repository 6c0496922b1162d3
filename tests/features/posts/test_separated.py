"""CSV and TSV files as people have them: stray quote marks, other separators, no header."""

from __future__ import annotations

import csv
import io

import pytest

from msa.features.posts.separated import split_table

KNOWN = frozenset(("id", "text", "label"))


def read(text: str, separator: str = ",") -> tuple[list[list[str]], list[int], list[str]]:
    """Cells of each row, lines of the problems, and notes."""
    table = split_table(text.splitlines(), separator, KNOWN)
    width = range(len(table.columns))
    rows = [[cells.get(number, "") for number in width] for _, cells in table.rows]
    return rows, [line for line, _ in table.problems], list(table.notes)


def plain(first: int, last: int) -> str:
    return "".join(
        f"{number},plain words {'ab'[number % 2]},{'pos' if number % 2 else 'neg'}\n" for number in range(first, last)
    )


STRAY = "lines with a stray quote mark, read as they are"


def test_a_quote_mark_that_is_never_closed_costs_no_other_line() -> None:
    rows, problems, notes = read("id,text,label\n" + plain(0, 5) + '5,"so cold,neg\n' + plain(6, 3000))
    assert [row[0] for row in rows] == [str(number) for number in range(3000)]
    assert rows[5] == ["5", '"so cold', "neg"]
    assert (problems, notes) == ([], [f"{STRAY}: 1"])


def test_a_second_stray_mark_far_below_does_not_close_the_first() -> None:
    table = "id,text,label\n" + plain(0, 5) + '5,"so cold,neg\n' + plain(6, 900) + '900,told "no",pos\n901,ends",pos\n'
    rows, problems, notes = read(table)
    assert [row[0] for row in rows] == [str(number) for number in range(902)]
    assert (rows[5][1], rows[901][1]) == ('"so cold', 'ends"')
    assert (problems, notes) == ([], [f"{STRAY}: 1"])


def test_two_stray_marks_around_all_other_lines() -> None:
    rows, problems, notes = read('id,text,label\n0,"so cold,neg\n' + plain(1, 9) + '9,ends",pos\n')
    assert [row[0] for row in rows] == [str(number) for number in range(10)]
    assert (problems, notes) == ([], [f"{STRAY}: 1"])


def test_lines_of_one_cell_stay_together_though_they_have_as_many_commas_as_the_header() -> None:
    rows, problems, notes = read("id,text,label\n" + plain(0, 8) + '8,"Hello, all\nfriends, hello",pos\n')
    assert rows[-1] == ["8", "Hello, all\nfriends, hello", "pos"]
    assert (problems, notes) == ([], [])


def test_lines_that_may_be_rows_or_one_cell_are_reported() -> None:
    table = split_table(["id,text,label", '1,"a,x', '2,b",x'], ",", KNOWN)
    assert len(table.rows) == 1
    assert [(line, "lines 2 to 3" in reason, "remove" in reason) for line, reason in table.problems] == [
        (2, True, True)
    ]


def test_a_quoted_row_of_too_many_cells_is_one_problem_and_hides_no_other_row() -> None:
    table = split_table(["id,text,label", '1,"two', 'lines",x,too,many', "2,b,x"], ",", KNOWN)
    assert [(line, reason) for line, reason in table.problems] == [
        (2, "lines 2 to 3: 5 fields, but the header has 3; put quote marks around cells with commas")
    ]
    rows, problems, _ = read('id,text,label\n1,"a,b,c,x\n2,b,x\n3,c",x,y\n')
    assert [row[0] for row in rows] == ["2"]
    assert problems == [2, 4]


def test_quote_marks_inside_quoted_cells_that_nobody_doubled() -> None:
    rows, problems, _ = read('id,text,label\n"1","he told "hi" to me","pos"\n"2","a, b","neg"\n')
    assert rows == [["1", 'he told "hi" to me', "pos"], ["2", "a, b", "neg"]]
    assert problems == []


def test_backslashes_before_quote_marks_as_databases_write_them() -> None:
    text = 'id,text,label\n1,"She told \\"no, never\\" today",\\N\n2,"a \\\\ b",pos\n'
    rows, problems, notes = read(text)
    assert rows == [["1", 'She told "no, never" today', "\\N"], ["2", "a \\ b", "pos"]]
    assert (problems, len(notes)) == ([], 1)
    assert read('id,text,label\n1,"C:\\",pos\n')[0] == [["1", "C:\\", "pos"]]


def test_a_tab_separated_file_has_quote_marks_as_any_other_character() -> None:
    text = 'id\ttext\tlabel\n1\t"cut off\tneg\n2\tplain\tpos\n3\tends"\tneg\n4\t"a title"\tpos\n'
    rows, problems, notes = read(text, "\t")
    assert [row[1] for row in rows] == ['"cut off', "plain", 'ends"', '"a title"']
    assert (problems, notes) == ([], [])


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_a_tab_separated_file_that_is_quoted_is_read_as_it_was_written(quoting: int) -> None:
    written = [["1", 'he told "hi"', "pos"], ["2", "a\ttab", "neg"], ["3", "plain", "pos"]]
    for records in (written, written[:1] + written[2:]):
        stream = io.StringIO()
        csv.writer(stream, delimiter="\t", quoting=quoting).writerows([["id", "text", "label"], *records])
        assert read(stream.getvalue(), "\t") == (records, [], [])


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_other_separators_are_taken_from_the_header_and_noted(separator: str, name: str) -> None:
    text = f'id{separator}text{separator}label\n1{separator}"one, two{separator}three"{separator}pos\n'
    assert read(text) == ([["1", f"one, two{separator}three", "pos"]], [], [f"columns are separated by {name}"])


def test_the_own_separator_wins_where_the_header_does_not_tell() -> None:
    assert read("tweet,mood;s\na,b\n") == ([["a", "b"]], [], [])
    assert read("text\none; two\n") == ([["one; two"]], [], [])
    assert read("id,text\n1,a\n", "\t") == ([["1", "a"]], [], ["columns are separated by commas"])
    assert read("sep=;\nid;text\n1;a\n") == ([["1", "a"]], [], [])


def test_a_first_line_with_a_number_or_a_file_is_no_header() -> None:
    assert not split_table(["a.jpg,hello,pos"], ",", KNOWN).has_header
    assert not split_table(["17,hello,pos"], ",", KNOWN).has_header
    assert len(split_table(["17,hello,pos", "18,hi,neg"], ",", KNOWN).rows) == 2
    for header in ("0,1,2", "id,2019,x", "tweet,mood,picture"):
        assert split_table([header], ",", KNOWN).has_header


def test_an_undecodable_line_is_reported_where_it_is_and_inside_a_quoted_cell() -> None:
    lines = ["id,text,label", "1,a,x", None, '2,"b', None, 'c",x', "3,d,x"]
    table = split_table(lines, ",", KNOWN)
    assert [cells[0] for _, cells in table.rows] == ["1", "3"]
    assert [line for line, _ in table.problems] == [3, 4]
    assert "lines 4 to 6" in table.problems[1][1]
    assert all("UTF-8" in reason for _, reason in table.problems)


def test_empty_cells_beyond_the_header_are_nothing_and_full_ones_a_problem() -> None:
    rows, problems, _ = read("id,text,label\n1,a,x,,\n2,b,x,more\n3,c\n\n,,\n4,d,x\n")
    assert [row[0] for row in rows] == ["1", "4"]
    assert problems == [3, 4]


def test_the_header_of_a_table_that_was_appended_is_no_post() -> None:
    rows, _, notes = read("id,text,label\n" + plain(0, 2) + 'id,text,label\n"id","text","label"\n' + plain(2, 4))
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    assert notes == ["lines that repeat the header, left out: 2"]
    assert [row[0] for row in read("text\na\ntext\n")[0]] == ["a", "text"]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_header_that_does_not_name_the_row_numbers(separator: str) -> None:
    table = '"text","label"\n"1","so, so","neg"\n"2","fine","pos"\n'.replace('","', f'"{separator}"')
    rows, problems, notes = read(table, separator)
    assert rows == [["1", "so, so", "neg"], ["2", "fine", "pos"]]
    assert (problems, notes) == ([], ["the first column, which the header does not name, is not read"])
    assert read("text,label\nso, so,neg\nwell, well,pos\n")[:2] == ([], [2, 3])
    rows, problems, notes = read("text,label\n1,a,b\nc,d\n")
    assert (rows, problems, notes) == ([["c", "d"]], [2], [])


def test_a_long_cell_costs_no_row() -> None:
    rows, problems, _ = read('id,text,label\n1,"' + "so, " * 50_000 + '",neg\n' + plain(2, 4))
    assert (len(rows), len(rows[0][1]), problems) == (3, 199_999, [])
