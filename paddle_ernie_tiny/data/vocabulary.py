"""Word piece vocabularies: the two file shapes in use, and learning one from text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import InputError, Problems
from ..files import read_json, utf8_lines

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_SHAPE_REMEDY = "write one token per line, or `token<TAB>id` throughout"
_WORDS_PER_LINE = 1000  # how often one word is repeated in a line for the trainer
_MIN_FREQUENCY = 2  # pieces longer than a character that occur once are accidents, not words


def read_vocabulary(path: str | Path) -> list[str]:
    """Reads a vocabulary file; the place in the list is the token's id.

    Two shapes are told apart by their first line: one token per line (BERT), and `token<TAB>id` (ERNIE 1.0
    to 3.0; the lines in any order). A token that occurs twice, as `$` does in ERNIE 3.0's file, keeps its
    last id, as in PaddleNLP; its earlier id is held by a placeholder that no text can produce. Raises InputError for a
    file that is not there, not UTF-8 or empty, an id given twice, a gap, or a special token missing.
    """
    path = Path(path)
    lines = _vocabulary_lines(path)
    tokens = _tokens_with_ids(path, lines) if _has_ids(lines[0]) else _tokens_by_line(path, lines)
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        what = f"the vocabulary lacks the special tokens {', '.join(missing)}"
        raise InputError(what, str(path), "use the vocab.txt of a BERT, ERNIE or Chinese RoBERTa model")
    last = {token: index for index, token in enumerate(tokens)}
    # Brackets are always tokens of their own, so no text ever becomes this placeholder.
    return [token if last[token] == index else f"[duplicate{index}]" for index, token in enumerate(tokens)]


@dataclass(frozen=True)
class AddedWord:
    """A token that was added to a vocabulary, and how it is found in a text, in the terms of `tokenizers`.

    normalized: in the text after normalising, else in the text as it is.
    """

    content: str
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False

    @property
    def plain(self) -> bool:
        """Is it no special token, or found in another way than those?"""
        return self != AddedWord(self.content)


def read_added_tokens(
    folder: Path, options: dict, tokens: list[str], usual: tuple[str, ...] = SPECIAL_TOKENS, plain: bool = False
) -> list[AddedWord]:
    """Tokens beside the `usual` five that were added, those that are new to the vocabulary in the order of their ids.

    From `added_tokens.json`, `special_tokens_map.json` and `options`, the content of tokenizer_config.json. Raises
    InputError for plain words unless they are allowed, and for ids that do not follow the vocabulary's.
    """
    where = str(folder / "tokenizer_config.json")
    ids: dict[str, int] = {}
    known = {token: index for index, token in enumerate(tokens)}
    found: dict[str, AddedWord] = {}
    try:
        for number, entry in (options.get("added_tokens_decoder") or {}).items():
            ids[entry["content"]] = int(number)
            found[entry["content"]] = added_word(entry)
        for source in (options, _object(folder / "special_tokens_map.json")):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                given = source.get(key) or []
                if isinstance(given, str):
                    raise TypeError(given)
                for entry in given.values() if isinstance(given, dict) else given:
                    word = AddedWord(entry) if isinstance(entry, str) else added_word({**entry, "special": True})
                    found.setdefault(word.content, word)
        for name, number in _object(folder / "added_tokens.json").items():
            ids[name] = int(number)
            found.setdefault(name, AddedWord(name, special=False, normalized=True))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError("the added tokens cannot be read", where, "restore the model's own file") from None
    after, last = len(tokens), len(tokens) + len(found)
    added = [found[name] for name in sorted(found, key=lambda name: ids.get(name, last)) if name not in usual]
    for word in added:
        if word.plain and not plain:
            refuse_added_word(word.content, where)
        place = known.get(word.content, after)
        if ids.get(word.content, place) != place:
            what = f"the added token {word.content!r} has the id {ids[word.content]}, the vocabulary gives it {place}"
            raise InputError(what, where, "restore the model's own files: they belong to different tokenizers")
        after += word.content not in known
    return added


def added_word(entry: dict) -> AddedWord:
    """From an entry of `added_tokens` in tokenizer.json, or of tokenizer_config.json."""
    special = bool(entry.get("special"))
    flags = {key: bool(entry.get(key)) for key in ("single_word", "lstrip", "rstrip")}
    return AddedWord(str(entry["content"]), special, **flags, normalized=bool(entry.get("normalized", not special)))


def _object(path: Path) -> dict:
    """The content of a JSON file that may be missing. Raises ValueError if it is no mapping."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(path)
    return content


def refuse_added_word(name: str, where: str) -> NoReturn:
    """Raises InputError for a token that was added as a plain word, where it is not known how it is looked for."""
    remedy = "save the tokenizer with transformers, which writes tokenizer.json; or use a model without such words"
    raise InputError(f"the token {name!r} was added as a plain word, which is not supported", where, remedy)


def _vocabulary_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError("no such vocabulary file", str(path), "give the path of a vocab.txt")
    lines = []
    for _, line in utf8_lines(path):  # U+2028, which splitlines() splits at, is a token of Chinese BERT
        if isinstance(line, InputError):
            raise line
        lines.append(line.removesuffix("\n").removesuffix("\r"))
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("the vocabulary file is empty", str(path), "give a BERT or ERNIE vocab.txt")
    return lines


def _has_ids(line: str) -> bool:
    token, tab, number = line.rpartition("\t")
    return bool(tab and token and number.isdecimal())


def _tokens_by_line(path: Path, lines: list[str]) -> list[str]:
    for number, line in enumerate(lines, start=1):
        if not line or "\t" in line:
            what = "a blank line" if not line else f"a tab in {line!r}, but line 1 has no id"
            raise InputError(what, f"{path}:{number}", _SHAPE_REMEDY)
    return lines


def _tokens_with_ids(path: Path, lines: list[str]) -> list[str]:
    problems = Problems()
    by_id: dict[int, tuple[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        token, _, written = line.rpartition("\t")
        if not _has_ids(line):
            problems.add(f"expected `token<TAB>id`, found {line!r}", f"{path}:{number}", _SHAPE_REMEDY)
            continue
        earlier, at = by_id.setdefault(int(written), (token, number))
        if at != number:
            what = f"id {int(written)} of {token!r} was given to {earlier!r} on line {at}"
            problems.add(what, f"{path}:{number}", "every token needs an id of its own")
    problems.finish()
    gap = next((index for index in range(len(by_id)) if index not in by_id), None)
    if gap is not None:
        what = f"ids should run from 0 to {len(by_id) - 1} without gaps, but {gap} is missing"
        raise InputError(what, str(path), "restore the lines, or number the tokens again if no model uses these ids")
    return [by_id[index][0] for index in range(len(by_id))]


def learn_word_pieces(word_counts: Mapping[str, int], size: int) -> list[str]:
    """Learns a word piece vocabulary of at most `size` tokens, special tokens first.

    Then single characters, by frequency, each also as `##c` if it continues a word; those for which there is no room
    become `[UNK]`. The rest of `size` goes to the pieces that the trainer of `tokenizers` merges. The same counts
    always give the same vocabulary: the trainer's own result depends on the order of a hash map, so the characters are
    given to it with fixed ids. Raises InputError for no words, or a `size` without room for a character.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if size <= len(SPECIAL_TOKENS):
        raise InputError(f"a vocabulary of {size} tokens has no room for text", remedy="give at least a few hundred")
    if not word_counts:
        raise InputError("there is no text to learn a vocabulary from", remedy="give a corpus with text in it")
    alphabet = _alphabet(word_counts, size - len(SPECIAL_TOKENS))
    known = set(alphabet)

    def is_spelt(word: str) -> bool:
        return word[0] in known and all(f"##{character}" in known for character in word[1:])

    words = {word: count for word, count in word_counts.items() if len(word) > 1 and is_spelt(word)}
    fixed = [*SPECIAL_TOKENS, *alphabet]
    if not words or len(fixed) >= size:
        return fixed
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=_MIN_FREQUENCY, special_tokens=fixed, show_progress=False
    )
    lines = (
        " ".join([word] * min(left, _WORDS_PER_LINE))
        for word in sorted(words)
        for left in range(words[word], 0, -_WORDS_PER_LINE)
    )
    tokenizer.train_from_iterator(lines, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _alphabet(word_counts: Mapping[str, int], room: int) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        counts[word[0]] += count
        for character in word[1:]:
            # The plain character is counted too, so that it never ranks below its own `##` form.
            counts[character] += count
            counts[f"##{character}"] += count
    return sorted(counts, key=lambda piece: (-counts[piece], len(piece), piece))[:room]
