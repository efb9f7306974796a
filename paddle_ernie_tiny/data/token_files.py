"""Rows of tagged words (named entities): from conll files, tsv with joined cells, jsonl, and PaddleNLP by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems
from . import tables
from .readers import field_named, load_paddlenlp
from .rows import TokenExample
from .tables import TableFormat

_JOINED = "\x02"  # between the words, and between the tags, in Baidu's files
_WORDS_PER_ROW = 10_000  # more is a file whose rows are not separated
_Row = tuple[int, list[str], list[tuple[int, str]]]  # its line, its words, and of each tag its line and name


def read_token_examples(path: str | Path, table: TableFormat, labels: Sequence[str]) -> list[TokenExample]:
    """Reads a file's rows of tagged words.

    conll: a word and its tag a line (first and last column, between blanks), with blank lines between rows.
    tsv and csv: words in one column and tags in another, each joined by \\x02 or by blanks.
    jsonl: lists in two fields; a text with a list of tags has a tag for each character.
    Raises InputError and InputErrors as `read_examples` does.
    """
    tables.check_aliases(table, labels)
    problems, examples = Problems(), []
    ids = {label: index for index, label in enumerate(labels)}
    for line, words, tags in _tagged_rows(Path(path), table, problems):
        for at, tag in tags:
            if tag not in ids:
                close = get_close_matches(tag, ids, n=1)
                remedy = f"use one of {', '.join(ids)}" + (f" (did you mean {close[0]!r}?)" if close else "")
                problems.add(f"unknown tag {tag!r}", f"{path}:{at}", remedy)
        examples.append(TokenExample(tuple(words), tuple(ids.get(tag, -1) for _, tag in tags), line))
    problems.finish()
    if not examples:
        raise InputError("no rows of tagged words", str(path), "give a file with at least one row")
    return examples


def infer_tags(path: str | Path, table: TableFormat) -> list[str]:
    """The tags of a file: `O` first, then by entity type, and by prefix (B, I or M, E, S) within a type."""
    problems = Problems()
    found = {tag for _, _, tags in _tagged_rows(Path(path), table, problems) for _, tag in tags}
    problems.finish()
    return sorted(found | {"O"}, key=lambda tag: (tag != "O", tag[2:], "BIMES".find(tag[:1]), tag))


def read_paddlenlp_tokens(
    name: str, split: str, table: TableFormat, subset: str | None = None
) -> tuple[list[TokenExample], list[str]]:
    """One split of a tagged data set of `paddlenlp.datasets` (msra_ner), and its tags in PaddleNLP's order.

    Raises InputError for an unknown data set, split or field, InputErrors for rows of unequally many words and tags.
    """
    rows, labels, where = load_paddlenlp(name, split, subset)
    fields = list(rows[0])
    text = field_named(table.text, ("tokens", "words", "text"), fields, where)
    label = field_named(table.label, ("ner_tags", "tags", *tables.LABEL_NAMES), fields, where)
    if not labels:
        raise InputError("the data set names no tags", where, "use local files, or give task.labels")
    problems, examples = Problems(), []
    for number, row in enumerate(rows, start=1):
        words, tags = list(row[text]), list(row[label])
        if len(words) != len(tags) or not words:
            problems.add(f"{len(words)} words, {len(tags)} tags", f"{where}, row {number}", "fix the cached files")
        else:
            ids = tuple(tag if isinstance(tag, int) else labels.index(tag) for tag in tags)
            examples.append(TokenExample(tuple(map(str, words)), ids, number))
    problems.finish()
    return examples, list(labels)


def _tagged_rows(path: Path, table: TableFormat, problems: Problems) -> Iterator[_Row]:
    """Every row that is whole, with the tags' aliases replaced."""
    tables.require_file(path)
    conll = tables.file_format(path, table.format) == "conll"
    for line, words, tags in _conll_rows(path, problems) if conll else _cell_rows(path, table, problems):
        where = f"{path}:{line}"
        if not words:
            problems.add("empty text", where, "give every row its words, or take the row out")
        elif len(words) != len(tags):
            problems.add(f"{len(words)} words, but {len(tags)} tags", where, "give every word one tag")
        elif len(words) > _WORDS_PER_ROW:
            what = f"a row of {len(words)} words, more than {_WORDS_PER_ROW}"
            problems.add(what, where, "separate the rows with blank lines")
        elif not all(word.strip() for word in words):
            problems.add("an empty word", where, "take the word and its tag out")
        else:
            yield line, words, [(at, table.label_aliases.get(tag, tag)) for at, tag in tags]


def _conll_rows(path: Path, problems: Problems) -> Iterator[_Row]:
    words: list[str] = []
    tags: list[tuple[int, str]] = []
    for number, line in itertools.chain(tables.decoded_lines(path, problems), [(0, "")]):  # the end is a blank line
        cells = line.split()
        if not cells or cells[0] == "-DOCSTART-":
            if words:
                yield tags[0][0], words, tags
            words, tags = [], []
        elif len(cells) < 2:
            problems.add(f"one column only: {cells[0]!r}", f"{path}:{number}", "write a word, a blank and its tag")
        else:
            words.append(cells[0])
            tags.append((number, cells[-1]))


def _cell_rows(path: Path, table: TableFormat, problems: Problems) -> Iterator[_Row]:
    def is_header(first: tables.Cells) -> bool:
        return "O" not in _split(first["label"])

    for line, row in tables.labelled_rows(path, table, problems, is_header, require_label=True):
        words, tags = row["text"], row["label"]
        if isinstance(tags, list) and isinstance(words, str):
            words = list(words)
        yield line, _split(words), [(line, tag) for tag in _split(tags)]


def _split(cell: Any) -> list[str]:
    if isinstance(cell, list):
        return [str(item) for item in cell]
    cell = "" if cell is None else str(cell)
    return cell.split(_JOINED) if _JOINED in cell else cell.split()
