"""Labelled rows, and rows of tagged words (named entities): from files, and from PaddleNLP's data sets by name."""

from __future__ import annotations

import itertools
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import InputError, Problems, shown
from ..text_rule import DAMAGED_REMEDY, is_blank, refused_character
from . import tables
from .rows import Example, TokenExample
from .tables import Cells, TableFormat

JOINED = "\x02"  # between the words, and between the tags, in Baidu's files
_OTHER_LINE_END = re.compile("(?:^|\\S)([\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])+\\S")
_WORDS_PER_ROW = 10_000  # more is a file whose rows are not separated
_LABEL_CHARACTERS = 200  # a longer one is a text
_LABELS = 1000  # more that no one listed are the values of another column
_Row = tuple[int, list[str], list[tuple[int, str]]]  # its line, its words, and of each tag its line and name
Parse = Callable[..., int | float]  # a label's name to the label; raises InputError, without a place


def read_examples(
    path: str | Path, table: TableFormat, parse: Parse, labels: Sequence[str] | None = None, require_label: bool = True
) -> list[Example]:
    """Reads a file's rows; `parse` turns a label's name into the label, `labels` are the names that aliases stand for.

    Without `require_label` the label, or its whole column, may be missing (None). Raises InputError for a file without
    rows or with columns that do not fit, and InputErrors for up to 20 bad rows.
    """
    path, problems = Path(path), Problems()
    if labels is not None:
        tables.check_aliases(table, labels)
    rows = tables.labelled_rows(path, table, problems, header_test(table, parse), require_label)
    examples = _examples(rows, f"{path}:", parse, problems, table.label_aliases, require_label)
    if not examples:
        raise InputError("no rows besides the header", str(path), "give a file with at least one row")
    return examples


def header_test(table: TableFormat, parse: Parse) -> Callable[[Cells], bool]:
    """Whether a table's first row is a header: it is not if it has a label, which `parse` says."""

    def is_header(first: Cells) -> bool:
        return not is_label(first.get("label"), table, parse) and tables.looks_like_header(first)

    return is_header


def is_label(value: Any, table: TableFormat, parse: Parse) -> bool:
    """Is a cell a label, or an alias of one?"""
    name = label_name(value)
    try:
        parse(table.label_aliases.get(name, name))
    except InputError:
        return False
    return True


def infer_labels(path: str | Path, table: TableFormat) -> list[str]:
    """The label names of a file, sorted (as numbers if all of them are). Raises as `read_examples` does."""
    path, problems = Path(path), Problems()

    def is_header(first: Cells) -> bool:  # by its label if that is a usual name, or occurs nowhere else
        rows = tables.labelled_rows(path, replace(table, header=False), Problems(), is_header, require_label=True)
        once = sum(cells["label"] == first["label"] for _, cells in rows) == 1
        return tables.is_typical_name(first["label"]) or (once and tables.looks_like_header(first))

    names = set()
    for line, row in tables.labelled_rows(path, table, problems, is_header, require_label=True):
        name = label_name(row["label"])
        if len(name) > _LABEL_CHARACTERS:
            problems.add(f"a label of {len(name)} characters", f"{path}:{line}", "check which column holds the label")
        elif what := refused_character(name):
            problems.add(f"{what} of the label", f"{path}:{line}", "correct the label")
        elif name:
            names.add(table.label_aliases.get(name, name))
        else:
            problems.add("no label", f"{path}:{line}", "give every row a label")
    problems.finish()
    _require_few(names, path)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return sorted(names, key=lambda name: (Decimal(name), name))  # 1 and 01 are equal numbers, and two labels
    return sorted(names)


def _require_few(names: set[str], path: str | Path) -> None:
    if len(names) > _LABELS:
        raise InputError(f"{len(names)} different labels", str(path), "check the label's column, or list task.labels")


def _examples(
    rows: Iterable[tuple[int, Cells]], place: str, parse: Parse, problems: Problems, aliases: dict, require_label: bool
) -> list[Example]:
    """Rows of (line, cells) with their parts checked; raises all problems at the end, `place` and the line of each."""
    examples = []
    for line, cells in rows:
        where = f"{place}{line}"
        text = checked_text(cells["text"], "text", where, problems)
        text_b = checked_text(cells["text_b"], "second text", where, problems) if "text_b" in cells else None
        name, label = label_name(cells.get("label")), None
        name = aliases.get(name, name)
        if name:
            try:
                label = parse(name)
            except InputError as error:
                problems.add(error.what, where, error.remedy)
        elif require_label:
            problems.add("no label", where, "give every row a label")
        examples.append(Example(text, text_b, label, line))
    problems.finish()
    return examples


def checked_text(value: Any, name: str, where: str, problems: Problems) -> str:
    """A text cell; one that is empty or no text is a problem. A list of keywords becomes one text."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = " ".join(value)
    if isinstance(value, str) and not is_blank(value):
        if fault := refused_character(value, data=True):
            problems.add(f"{fault} of the {name}", where, DAMAGED_REMEDY)
        return value
    empty = value is None or isinstance(value, str)
    what = f"empty {name}" if empty else f"{name} is {shown(value)}, not a string"
    problems.add(what, where, "give every row its text, or take the row out")
    return ""


def label_name(value: Any) -> str:
    """A label cell or JSON value as text; empty if there is none."""
    return "" if value is None or isinstance(value, (list, dict)) else str(value).strip()


def read_paddlenlp(
    name: str, split: str, table: TableFormat, subset: str | None, parse: Parse, labels: Sequence[str] | None = None
) -> tuple[list[Example], list[str]]:
    """Reads one split of a data set of `paddlenlp.datasets`, from its cache or by download.

    Fields that `table` does not name (None, or a position) are found by their usual names, a second text only if
    `text` is not given by name. A row's line is its place in the split, from 1. Returns the examples and the label
    names: `labels`, or those in PaddleNLP's order; rows without labels give None. `parse` gets the label names too.
    Raises InputError for an unknown data set, split or field, or no network; InputErrors for bad rows.
    """
    rows, known, where = _load_paddlenlp(name, split, subset)
    fields = list(rows[0])
    text, text_b = _field_named(table.text, tables.TEXT_NAMES, fields, where), table.text_b
    if not isinstance(table.text, str):
        others = [field for field in fields if field != text]
        text_b = _field_named(table.text_b, tables.TEXT_B_NAMES, others, where, optional=True)
    label = _field_named(table.label, tables.LABEL_NAMES, fields, where, optional=True)
    columns = {key: field for key, field in (("text", text), ("text_b", text_b), ("label", label)) if field}
    unknown = [field for field in columns.values() if field not in fields]
    if unknown:
        raise InputError(f"no field {unknown[0]!r}", where, f"its fields are {', '.join(fields)}")
    names = list(labels or known or sorted({label_name(row[label]) for row in rows if label} - {""}))

    def cells(row: dict[str, Any]) -> Cells:
        found = {key: row.get(str(field)) for key, field in columns.items()}
        value = found.get("label")
        if labels is None and isinstance(value, int):
            # PaddleNLP turns label names into ids itself; -1 means no label in its GLUE-like test splits.
            found["label"] = None if value == -1 else names[value] if 0 <= value < len(names) else value
        return found

    numbered = enumerate(map(cells, rows), start=1)
    return _examples(numbered, f"{where}, row ", lambda name: parse(name, names), Problems(), {}, False), names


def _load_paddlenlp(name: str, split: str, subset: str | None) -> tuple[list[dict], list[str] | None, str]:
    """One split of a data set of `paddlenlp.datasets`: its rows, its label names, and its name for messages."""
    import paddlenlp.datasets as known

    where = f"paddlenlp:{name}" + (f"/{subset}" if subset else "") + f"/{split}"
    names = [module.name for module in pkgutil.iter_modules(known.__path__) if module.name != "dataset"]
    if name not in names:
        close = get_close_matches(name, names, n=3) or names
        raise InputError(f"PaddleNLP has no data set {name!r}", where, f"did you mean {', '.join(close)}?")
    try:
        dataset = known.load_dataset(name, name=subset, splits=split)
        rows = [dict(row) for row in dataset]
    except Exception as error:  # whatever its builders and its downloader raise, the remedy is the same
        remedy = "check split and subset; without a network, put the files into PPNLP_HOME or use local files"
        raise InputError(f"PaddleNLP cannot load it: {error}", where, remedy) from error
    if not rows:
        raise InputError("the split has no rows", where, "choose another split")
    return rows, dataset.label_list and [str(label) for label in dataset.label_list], where


def _field_named(
    given: str | int | None, usual: tuple[str, ...], fields: list[str], where: str, optional: bool = False
) -> str | None:
    """The field that is given by name, or else the first of the usual names among `fields`; None for lack of both."""
    found = given if isinstance(given, str) else next((name for name in usual if name in fields), None)
    if found is None and not optional:
        raise InputError("which field holds the text?", where, f"name one of {', '.join(fields)}")
    return found


def read_token_examples(path: str | Path, table: TableFormat, labels: Sequence[str]) -> list[TokenExample]:
    """Reads a file's rows of tagged words. Raises InputError and InputErrors as `read_examples` does.

    conll: a word and its tag per line (first and last column), with blank lines between rows. Tabs are between columns
    if there is one, else blanks. A word that is a blank itself is left out with its tag, as in prediction.
    tsv and csv: words in one column and tags in another, each joined by \\x02 or by blanks.
    jsonl: lists in two fields; a text with a list of tags has a tag for each character.
    """
    tables.check_aliases(table, labels)
    problems, examples = Problems(), []
    ids = {label: index for index, label in enumerate(labels)}
    for line, words, tags in tagged_rows(Path(path), table, problems):
        for at, tag in tags:
            if tag not in ids:
                close = get_close_matches(tag, ids, n=1)
                remedy = f"use one of {', '.join(ids)}" + (f" (did you mean {close[0]!r}?)" if close else "")
                problems.add(f"unknown tag {shown(tag)}", f"{path}:{at}", remedy)
        examples.append(TokenExample(tuple(words), tuple(ids.get(tag, -1) for _, tag in tags), line))
    problems.finish()
    if not examples:
        raise InputError("no rows of tagged words", str(path), "give a file with at least one row")
    return examples


def infer_tags(path: str | Path, table: TableFormat) -> list[str]:
    """The tags of a file: `O` first, then by entity type, and by prefix (B, I or M, E, S) within a type."""
    problems = Problems()
    found = set()
    for _, _, tags in tagged_rows(Path(path), table, problems):
        for line, tag in tags:
            if what := refused_character(tag):
                problems.add(f"{what} of the tag", f"{path}:{line}", "correct the tag")
            found.add(tag)
    problems.finish()
    _require_few(found, path)
    return sorted(found | {"O"}, key=lambda tag: (tag != "O", tag[2:], "BIMES".find(tag[:1]), tag))


def read_paddlenlp_tokens(
    name: str, split: str, table: TableFormat, subset: str | None = None
) -> tuple[list[TokenExample], list[str]]:
    """As `read_paddlenlp`, one split of a tagged data set (msra_ner), and its tags in PaddleNLP's order."""
    rows, labels, where = _load_paddlenlp(name, split, subset)
    fields = list(rows[0])
    text = _field_named(table.text, ("tokens", "words", "text"), fields, where)
    label = _field_named(table.label, ("ner_tags", "tags", *tables.LABEL_NAMES), fields, where)
    if not labels:
        raise InputError("the data set names no tags", where, "use local files, or give task.labels")
    problems, examples = Problems(), []
    for number, row in enumerate(rows, start=1):
        words, tags = list(map(str, row[text])), list(row[label])
        if len(words) != len(tags) or not "".join(words).strip():
            problems.add(f"{len(words)} words, {len(tags)} tags", f"{where}, row {number}", "fix the cached files")
        else:
            ids = [tag if isinstance(tag, int) else labels.index(tag) for tag in tags]
            kept = [i for i, word in enumerate(words) if word.strip()]
            examples.append(TokenExample(tuple(words[i] for i in kept), tuple(ids[i] for i in kept), number))
    problems.finish()
    return examples, list(labels)


def tagged_rows(
    path: Path, table: TableFormat, problems: Problems, lines: tables.Lines | None = None
) -> Iterator[_Row]:
    """Every row that is whole, with the tags' aliases replaced. `lines`: those of a conll file that is open already."""
    if lines is None and tables.file_format(path, table.format) == "conll":
        lines = tables.decoded_lines(path, problems)
    rows = _cell_rows(path, table, problems) if lines is None else _conll_rows(path, lines, problems)
    for line, words, tags in rows:
        where = f"{path}:{line}"
        if not words:
            problems.add("empty text", where, "give every row its words, or take the row out")
        elif len(words) != len(tags):
            problems.add(f"{len(words)} words, but {len(tags)} tags", where, "give every word one tag")
        elif len(words) > _WORDS_PER_ROW:
            what = f"a row of {len(words)} words, more than {_WORDS_PER_ROW}"
            problems.add(what, where, "separate the rows with blank lines")
        elif longest := max((len(tag) for _, tag in tags if len(tag) > _LABEL_CHARACTERS), default=0):
            problems.add(f"a tag of {longest} characters", where, "check which column holds the tags")
        elif not all(words):
            problems.add("an empty word", where, "take the word and its tag out")
        elif fault := refused_character(" ".join(words), data=True):
            problems.add(f"{fault} of the row's words", where, DAMAGED_REMEDY)
        else:
            named = [(at, table.label_aliases.get(tag, tag)) for at, tag in tags]
            # at prediction no blank gets a tag, so none does here; one inside an entity does not end it
            blank = [tag for word, tag in zip(words, named, strict=True) if not word.strip()]
            kept = [(word, tag) for word, tag in zip(words, named, strict=True) if word.strip()]
            edges = [at for at, tag in blank if tag[:2] in ("B-", "S-", "E-")]
            if edges or not kept:
                what = "an entity begins or ends with a blank" if edges else "blanks alone"
                problems.add(what, f"{path}:{(edges or [line])[0]}", "take the blank and its tag out")
            else:
                yield line, [word for word, _ in kept], [tag for _, tag in kept]


def _conll_rows(path: Path, lines: tables.Lines, problems: Problems) -> Iterator[_Row]:
    words: list[str] = []
    tags: list[tuple[int, str]] = []
    for number, line in itertools.chain(lines, [(0, "")]):  # the end is a blank line
        cells = _conll_cells(line)
        if cells and (end := _OTHER_LINE_END.search(line)):
            what = f"the line holds another line end: U+{ord(end.group(1)):04X}"
            problems.add(what, f"{path}:{number}", "save the file with LF as the line end")
        elif not cells or cells[0] == "-DOCSTART-":
            if words:
                yield tags[0][0], words, tags
            words, tags = [], []
        elif len(cells) < 2:
            what = f"one column only: {shown(cells[0])}"
            problems.add(what, f"{path}:{number}", "write a word, a tab or a blank, and its tag")
        else:
            words.append(cells[0])
            tags.append((number, cells[-1]))


def _conll_cells(line: str) -> list[str]:
    """The columns of a line, none of a blank one. The word may be a blank, or hold one if tabs are between columns."""
    line = line.rstrip("\r\n\t ") if line.strip() else ""
    if "\t" in line:
        return [cell.strip(" ") or cell for cell in line.split("\t")]
    before, _, tag = line.rpartition(" ")
    if before and not before.strip(" "):
        return [" ", tag]
    return [cell for cell in (*before.split(" "), tag) if cell]


def _cell_rows(path: Path, table: TableFormat, problems: Problems) -> Iterator[_Row]:
    def is_header(first: Cells) -> bool:
        return "O" not in split_words(first["label"])

    for line, row in tables.labelled_rows(path, table, problems, is_header, require_label=True):
        words, tags = row["text"], row["label"]
        if isinstance(tags, list) and isinstance(words, str):
            words = list(words)
        yield line, split_words(words), [(line, tag) for tag in split_words(tags)]


def split_words(cell: Any) -> list[str]:
    """A cell's words or tags: a list's items, or what is joined by \\x02 or by blanks."""
    if isinstance(cell, list):
        return [str(item) for item in cell]
    cell = "" if cell is None else str(cell)
    return cell.split(JOINED) if JOINED in cell else cell.split()
