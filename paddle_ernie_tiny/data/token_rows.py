"""Rows of tagged words (named entities): from files of words and tags or of spans, and from PaddleNLP's data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import InputError, Problems, shown
from ..text_rule import DAMAGED_REMEDY, is_blank, refused_character
from . import tables
from .formats import Paths, Source, files_of, open_source
from .readers import LABEL_CHARACTERS, field_named, load_paddlenlp, require_few
from .rows import TokenExample
from .spans import UNIT, is_spans, tagged_by_spans
from .tables import Cells, TableFormat

JOINED = "\x02"  # between the words, and between the tags, in Baidu's files
_OTHER_LINE_END = re.compile("(?:^|\\S)([\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])+\\S")
_WORDS_PER_ROW = 10_000  # more is a file whose rows are not separated
_Row = tuple[int, list[str], list[tuple[int, str]], str | None]  # line, words, of each tag line and name, unit


def read_token_examples(
    given: Paths, table: TableFormat, labels: Sequence[str], problems: Problems | None = None
) -> list[TokenExample]:
    """Reads the rows of tagged words of one or several files. Raises InputError and InputErrors as `read_examples`.

    conll: a word and its tag per line (first and last column, if `table` does not say others), with blank lines
    between rows. Tabs are between columns if there is one, else blanks. A word that is a blank itself is left out with
    its tag, as in prediction. tsv, csv, xlsx: words in one column and tags in another, each joined by \\x02 or by
    blanks. Formats with names: lists in two fields; a text with a list of tags has a tag for each character; a text
    with spans (spans.py) is cut into words. problems: takes what is to be said of the files.
    """
    tables.check_aliases(table, labels)
    examples: list[TokenExample] = []
    problems = Problems(table.max_bad_rows) if problems is None else problems
    ids = {label: index for index, label in enumerate(labels)}
    for path in files_of(given):
        before = len(examples)
        for line, words, tags, unit in tagged_rows(open_source(path, table.format, problems, table.separator), table):
            unknown = [(at, tag) for at, tag in tags if tag not in ids]
            for at, tag in unknown:
                close = get_close_matches(tag, ids, n=1)
                remedy = f"use one of {', '.join(ids)}" + (f" (did you mean {close[0]!r}?)" if close else "")
                problems.add(f"unknown tag {shown(tag)}", f"{path}:{at}", remedy)
            if not unknown:
                examples.append(TokenExample(tuple(words), tuple(ids[tag] for _, tag in tags), line, unit))
        problems.finish(len(examples) - before, str(path))
        if len(examples) == before:
            raise InputError("no rows of tagged words", str(path), "give a file with at least one row")
    return examples


def infer_tags(given: Paths, table: TableFormat, problems: Problems | None = None) -> list[str]:
    """The tags of files: `O` first, then by entity type, and by prefix (B, I or M, E, S) within a type.

    Types of spans have both B- and I-.
    """
    problems, found = Problems(table.max_bad_rows) if problems is None else problems, set[str]()
    for path in files_of(given):
        rows = 0
        for _, _, tags, unit in tagged_rows(open_source(path, table.format, problems, table.separator), table):
            rows += 1
            for line, tag in tags:
                if what := refused_character(tag):
                    problems.add(f"{what} of the tag", f"{path}:{line}", "correct the tag")
                found.add(tag)
                if unit is not None and tag.startswith("B-"):
                    found.add(f"I-{tag[2:]}")
        problems.finish(rows, str(path))
        require_few(found, path)
    return sorted(found | {"O"}, key=lambda tag: (tag != "O", tag[2:], "BIMES".find(tag[:1]), tag))


def read_paddlenlp_tokens(
    name: str, split: str, table: TableFormat, subset: str | None = None, problems: Problems | None = None
) -> tuple[list[TokenExample], list[str]]:
    """As `read_paddlenlp`, one split of a tagged data set (msra_ner), and its tags in PaddleNLP's order."""
    rows, labels, where = load_paddlenlp(name, split, subset)
    fields = list(rows[0])
    text = field_named(table.text, ("tokens", "words", "text"), fields, where)
    label = field_named(table.label, ("ner_tags", "tags", *tables.LABEL_NAMES), fields, where)
    if not labels:
        raise InputError("the data set names no tags", where, "use local files, or give task.labels")
    problems, examples = Problems() if problems is None else problems, []
    for number, row in enumerate(rows, start=1):
        words, tags = list(map(str, row[text])), list(row[label])
        if len(words) != len(tags) or not "".join(words).strip():
            problems.add(f"{len(words)} words, {len(tags)} tags", f"{where}, row {number}", "fix the cached files")
        else:
            ids = [tag if isinstance(tag, int) else labels.index(tag) for tag in tags]
            kept = [i for i, word in enumerate(words) if word.strip()]
            examples.append(TokenExample(tuple(words[i] for i in kept), tuple(ids[i] for i in kept), number))
    problems.finish(len(examples), where)
    return examples, list(labels)


def tagged_rows(source: Source, table: TableFormat) -> Iterator[_Row]:
    """Every row that is whole, with the tags' aliases replaced."""
    rows = _conll_rows(source, table) if source.format == "conll" else _cell_rows(source, table)
    for line, words, tags, unit in rows:
        where, add = f"{source.path}:{line}", source.problems.add
        if not words:
            add("empty text", where, "give every row its words, or take the row out")
        elif len(words) != len(tags):
            add(f"{len(words)} words, but {len(tags)} tags", where, "give every word one tag")
        elif len(words) > _WORDS_PER_ROW:
            what = f"a row of {len(words)} words, more than {_WORDS_PER_ROW}"
            add(what, where, "separate the rows with blank lines" if source.format == "conll" else "divide the row")
        elif longest := max((len(tag) for _, tag in tags if len(tag) > LABEL_CHARACTERS), default=0):
            add(f"a tag of {longest} characters", where, "check which column holds the tags")
        elif not all(words):
            add("an empty word", where, "take the word and its tag out")
        elif fault := refused_character(" ".join(words), data=True):
            add(f"{fault} of the row's words", where, DAMAGED_REMEDY)
        else:
            named = [(at, table.label_aliases.get(tag, tag)) for at, tag in tags]
            # at prediction no blank gets a tag, so none does here; one inside an entity does not end it
            blank = [tag for word, tag in zip(words, named, strict=True) if is_blank(word)]
            kept = [(word, tag) for word, tag in zip(words, named, strict=True) if not is_blank(word)]
            edges = [at for at, tag in blank if tag[:2] in ("B-", "S-", "E-")]
            if edges or not kept:
                what = "an entity begins or ends with a blank" if edges else "blanks alone"
                add(what, f"{source.path}:{(edges or [line])[0]}", "take the blank and its tag out")
            else:
                yield line, [word for word, _ in kept], [tag for _, tag in kept], unit


def _conll_rows(source: Source, table: TableFormat) -> Iterator[_Row]:
    # names of columns are of tables: such a file has none
    word_at = table.text if isinstance(table.text, int) else 0
    tag_at = table.label if isinstance(table.label, int) else -1
    words: list[str] = []
    tags: list[tuple[int, str]] = []
    first, good = (0, 0), True  # line and number of columns of the first line; is the row whole so far?
    for number, cells in source.rows:
        where, count, add = f"{source.path}:{number}", len(cells), source.problems.add
        if cells and (end := _OTHER_LINE_END.search("\t".join(cells))):
            add(f"the line holds another line end: U+{ord(end.group(1)):04X}", where, "save the file with LF line ends")
        elif not cells or cells[0] == "-DOCSTART-":
            if words and good:
                yield tags[0][0], words, tags, None
            words, tags, good = [], [], True
            continue
        elif count < 2:
            add(f"one column only: {shown(cells[0])}", where, "write a word, a tab or a blank, and its tag")
        elif first[0] and count != first[1]:
            remedy = "give every line the same columns; put tabs between them if a word holds a blank"
            add(f"expected {first[1]} columns as on line {first[0]}, found {count}", where, remedy)
        elif not all(-count <= place < count for place in (word_at, tag_at)):
            what = f"there is no column {max(word_at, tag_at)}: {count} columns, counted from 0"
            raise InputError(what, where, "correct data.columns, or leave it out: the last column is the tag's")
        else:
            first = first if first[0] else (number, count)
            words.append(cells[word_at])
            tags.append((number, cells[tag_at]))
            continue
        good = False


def _cell_rows(source: Source, table: TableFormat) -> Iterator[_Row]:
    def is_header(first: Cells) -> bool:
        return "O" not in split_words(first["label"])

    for line, row in tables.source_rows(source, table, is_header, require_label=True):
        words, tags = row["text"], row["label"]
        where, unit = f"{source.path}:{line}", None
        if isinstance(words, str) and is_spans(tags):
            try:
                (words, tags), unit = tagged_by_spans(words, tags), UNIT
            except ValueError as error:
                source.problems.add(str(error), where, "correct the row's spans, or take the row out")
                continue
        elif isinstance(tags, dict) or (isinstance(tags, list) and not all(isinstance(tag, str | int) for tag in tags)):
            remedy = "give a list of tags, or a text with spans (CLUENER, doccano, Label Studio)"
            source.problems.add(f"the tags are {shown(tags)}", where, remedy)
            continue
        elif isinstance(tags, list) and isinstance(words, str):
            words = list(words)
        yield line, split_words(words), [(line, tag) for tag in split_words(tags)], unit


def split_words(cell: Any) -> list[str]:
    """A cell's words or tags: a list's items, or what is joined by \\x02 or by blanks."""
    if isinstance(cell, list):
        return [str(item) for item in cell]
    cell = "" if cell is None else str(cell)
    return cell.split(JOINED) if JOINED in cell else cell.split()
