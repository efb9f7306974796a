"""The one tokenisation path: training, export and prediction all go through what `read_tokenizer` gives.

That is a byte-level tokenizer (byte_level.py), or the word pieces that are here. Built on Rust `tokenizers`. The steps
of word pieces are those of PaddleNLP's `BasicTokenizer` followed by its `WordpieceTokenizer`, written as regular
expressions that are stored in `tokenizer.json`:

1. lower-case (if asked for), drop control characters, and when lower-casing also drop accents;
2. split at white space, and make every punctuation mark, symbol and Chinese character a word of its own.
   (Symbols are what plain BERT leaves inside words: `Apple😀` is two words here and in PaddleNLP.)
3. cut each word into the longest pieces of the vocabulary; a word over 100 characters is `[UNK]`.

The character classes are those of the Unicode version inside `tokenizers`, so a text has the same ids under
every Python. PaddleNLP takes them from Python's `unicodedata`; characters newer than that differ.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ..errors import InputError
from ..files import read_json, text_sha256, write_text
from . import byte_level
from .text_tokenizer import TextTokenizer, encodable
from .vocabulary import (
    SPECIAL_TOKENS,
    AddedWord,
    added_word,
    learn_word_pieces,
    read_added_tokens,
    read_vocabulary,
    refuse_added_word,
)

_PIPELINE_VERSION = 1  # part of the fingerprint; raise it when the steps change
_CHINESE = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
# PaddleNLP's `_is_symbol` counts these letters and numbers among the symbols.
_EXTRA_SYMBOLS = r"\x{B2}\x{B5}\x{BA}\x{D8}\x{14B}\x{1B1}\x{3007}"
_CONTROL = Regex(r"[\p{C}\x{FFFD}&&[^\t\n\r]]")
_SINGLE = Regex(rf"[\p{{P}}\p{{S}}{_EXTRA_SYMBOLS}{_CHINESE}]")
_TOKENIZER_CLASSES = tuple(f"{name}Tokenizer" for name in ("Bert", "Ernie", "Roberta", "RobertaChinese", "Electra"))
_FOLDER_REMEDY = "give the folder of a BERT, ERNIE, ELECTRA or RoBERTa model, with its tokenizer's files"
# what transformers alone writes into a tokenizer_config.json, since version 4 or 5
_TRANSFORMERS = ("added_tokens_decoder", "clean_up_tokenization_spaces", "backend")
# of `TextRules`: the key in a tokenizer_config.json, and in the normalizer of a tokenizer.json
_BERT_OPTIONS = {
    "lowercase": ("do_lower_case", "lowercase"),
    "strip_accents": ("strip_accents", "strip_accents"),
    "chinese": ("tokenize_chinese_chars", "handle_chinese_chars"),
}
_SPECIAL_OPTIONS: dict[str, list] = {f"{name[1:-1].lower()}_token": [name] for name in SPECIAL_TOKENS}
_WHOLE_FILE = (*byte_level.WHOLE_FILE, "DistilBertTokenizer", "DistilBertTokenizerFast")  # beside a tokenizer.json


@dataclass(frozen=True)
class TextRules:
    """How a text is cut before the pieces are looked up.

    bert: as transformers' BertTokenizer does it, which leaves symbols inside words, with its own switches for accents
    (None: as `lowercase`) and Chinese characters; else as PaddleNLP does. special: further tokens that are never cut.
    words: others that were added. apart: how many tokens at the end of the vocabulary are known as added ones alone.
    """

    lowercase: bool = True
    bert: bool = False
    strip_accents: bool | None = None
    chinese: bool = True
    special: tuple[str, ...] = ()
    words: tuple[AddedWord, ...] = ()
    apart: int = 0

    def with_added(self, added: Iterable[AddedWord]) -> TextRules:
        """These rules with further added tokens; those that are known already stay."""
        known = {*self.special, *(word.content for word in self.words)}
        new = [word for word in added if word.content not in known]
        special = tuple(word.content for word in new if not word.plain)
        return replace(
            self, special=self.special + special, words=self.words + tuple(word for word in new if word.plain)
        )


class WordPieceTokenizer(TextTokenizer):
    """Text to token ids, as PaddleNLP's BertTokenizer and ErnieTokenizer do it, or by `rules` as transformers' does it.

    `tokens` is the vocabulary by id; `rules` are given in place of `lowercase`. Special tokens in a text (`[SEP]`, in
    capitals) count as themselves, as in PaddleNLP. Raises ValueError for a vocabulary without the special tokens, or
    with a token twice.
    """

    special = SPECIAL_TOKENS

    def __init__(self, tokens: Sequence[str], lowercase: bool = True, rules: TextRules | None = None):
        self.rules = rules or TextRules(lowercase)
        if len(set(tokens)) != len(tokens) or not set(SPECIAL_TOKENS) <= set(tokens):
            raise ValueError(f"a vocabulary needs {', '.join(SPECIAL_TOKENS)}, and every token once")
        self.lowercase = self.rules.lowercase
        super().__init__(_build(tokens, self.rules), tokens)

    @classmethod
    def from_vocab_file(cls, path: str | Path, lowercase: bool = True) -> WordPieceTokenizer:
        """From a vocabulary file in BERT's or ERNIE's shape. Raises InputError as `read_vocabulary` does."""
        return cls(read_vocabulary(path), lowercase)

    @classmethod
    def from_folder(cls, folder: str | Path) -> WordPieceTokenizer:
        """From the `tokenizer.json` of a bundle or of transformers, else from `vocab.txt`; and `tokenizer_config.json`.

        A `tokenizer.json` that is not BERT's is passed over. Raises InputError for no file, or a tokenizer whose ids
        would not be the same here.
        """
        folder = Path(folder)
        bundled, vocab, options = folder / "tokenizer.json", folder / "vocab.txt", _read_options(folder)
        rules, tokens = _read_bundled(bundled) if bundled.is_file() else (None, [])
        if rules is None and not vocab.is_file():
            found = "a tokenizer.json that this toolkit did not write and that is not BERT's, and no "
            what = f"{found * bundled.is_file() or 'no '}vocab.txt here" if folder.is_dir() else "no such folder"
            raise InputError(what, str(folder), _FOLDER_REMEDY)
        if rules is None:
            rules, tokens = _rules_by_options(options, folder / "tokenizer_config.json"), read_vocabulary(vocab)
        elif rules.bert:
            _refuse_others(options, _SPECIAL_OPTIONS, _WHOLE_FILE, folder / "tokenizer_config.json")
            given = {own: options.get(key, getattr(rules, own)) for own, (key, _) in _BERT_OPTIONS.items()}
            rules = replace(rules, **given)
        added = read_added_tokens(folder, options, tokens, plain=rules.bert)
        new = [word.content for word in added if word.content not in tokens]
        rules = replace(rules.with_added(added), apart=rules.apart + len(new))
        try:
            return cls([*tokens, *new], rules=rules)
        except ValueError as error:
            raise InputError(str(error), str(folder), _FOLDER_REMEDY) from None

    def save(self, folder: str | Path) -> None:
        """Writes `tokenizer.json` and `vocab.txt` (BERT's shape), each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in self.tokens))
        write_text(folder / "tokenizer.json", self._backend.to_str(pretty=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the vocabulary in id order and of the options: equal means equal ids for any text."""
        more = {key: value for key, value in asdict(self.rules).items() if value != getattr(TextRules, key)}
        return text_sha256(
            json.dumps([self.tokens, {"lowercase": self.lowercase, "pipeline": _PIPELINE_VERSION, **more}])
        )

    @property
    def never_cut(self) -> set[str]:
        """Special tokens, and words that were added to the vocabulary."""
        return {*SPECIAL_TOKENS, *self.rules.special, *(word.content for word in self.rules.words)}

    def options(self, classes: str) -> dict[str, Any]:
        """The content of `tokenizer_config.json`, for PaddleNLP; `classes`: how the model's class begins ("Bert")."""
        own = {"do_lower_case": self.lowercase, "tokenizer_class": f"{classes}Tokenizer", **super().options(classes)}
        return {**own, "additional_special_tokens": list(self.rules.special)} if self.rules.special else own

    def keep(self, ids: Sequence[int]) -> WordPieceTokenizer:
        """A tokenizer with these of its tokens, ascending, under new ids."""
        return WordPieceTokenizer([self.tokens[index] for index in ids], rules=self.rules)

    def split_words(self, text: str) -> list[str]:
        """The words of a text after normalising, before they are cut into pieces."""
        normalized = self._backend.normalizer.normalize_str(*encodable([text]))
        return [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(normalized)]


def read_tokenizer(folder: str | Path) -> TextTokenizer:
    """The tokenizer of a model folder, a bundle or a folder of Paddle Serving, by the files that are there.

    `tokenizer.json` says of which kind it is; without it `vocab.txt` is of word pieces, `vocab.json` with `merges.txt`
    of byte pairs. Raises InputError for no such files, or a tokenizer whose ids would not be the same here.
    """
    folder = Path(folder)
    bundled = folder / "tokenizer.json"
    if bundled.is_file():
        bytewise = byte_level.is_byte_level(read_json(bundled))
    else:
        two = (folder / byte_level.VOCABULARY).is_file() and (folder / byte_level.MERGES).is_file()
        bytewise = two and not (folder / "vocab.txt").is_file()
    if bytewise:
        return byte_level.ByteLevelTokenizer.read(folder, _read_options(folder))
    return WordPieceTokenizer.from_folder(folder)


def pad_batch(rows: Sequence[Sequence[int]], pad_id: int, multiple_of: int = 1) -> np.ndarray:
    """Pads rows on the right to the longest, rounded up to `multiple_of`: int64 [batch, length]."""
    longest = max((len(row) for row in rows), default=0)
    batch = np.full((len(rows), -(-longest // multiple_of) * multiple_of), pad_id, dtype=np.int64)
    for index, row in enumerate(rows):
        batch[index, : len(row)] = row
    return batch


def rounded_length(tokens: int, multiple: int, longest: int) -> int:
    """The length that a row of so many tokens is padded to, where the model takes at most `longest`."""
    return min(-(-tokens // multiple) * multiple, longest)


def batches_by_length(rows: list[list[int]], batch_size: int) -> list[np.ndarray]:
    """Indices of the rows, longest first, `batch_size` at a time.

    The buffers of the first batch then have room for all that follow; from short to long every batch needs new ones.
    """
    order = np.argsort([len(row) for row in rows], kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)][::-1]


def train_vocabulary(lines: Iterable[str], size: int, lowercase: bool = True) -> WordPieceTokenizer:
    """Learns a vocabulary of at most `size` tokens from text. Raises InputError as `learn_word_pieces` does.

    Each Chinese character is a word. Memory grows with the number of different words, not with the text.
    """
    splitter = WordPieceTokenizer(SPECIAL_TOKENS, lowercase)
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(splitter.split_words(line))
    return WordPieceTokenizer(learn_word_pieces(counts, size), lowercase)


def _build(tokens: Sequence[str], rules: TextRules) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(tokens[: len(tokens) - rules.apart])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    if rules.bert:
        backend.normalizer = normalizers.BertNormalizer(True, rules.chinese, rules.strip_accents, rules.lowercase)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        no_control = normalizers.Replace(_CONTROL, "")
        no_accents = [normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}"), "")]
        steps = [normalizers.Lowercase(), no_control, *no_accents] if rules.lowercase else [no_control]
        backend.normalizer = normalizers.Sequence(steps)
        splits = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(_SINGLE, "isolated")]
        backend.pre_tokenizer = pre_tokenizers.Sequence(splits)
    added = {name: AddedWord(name) for name in (*SPECIAL_TOKENS, *rules.special)}
    added |= {word.content: word for word in rules.words}
    last = tokens[len(tokens) - rules.apart :]  # these get their ids here, one after another
    names = [*(name for name in added if name not in last), *last]
    backend.add_tokens([AddedToken(**asdict(added[name])) for name in names])
    # We add the special tokens ourselves; this is for other users of tokenizer.json.
    separator, first = (tokens.index(name) for name in ("[SEP]", "[CLS]"))
    backend.post_processor = processors.BertProcessing(("[SEP]", separator), ("[CLS]", first))
    return backend


def _read_options(folder: Path) -> dict:
    """The content of tokenizer_config.json; empty without one."""
    path = folder / "tokenizer_config.json"
    options = read_json(path) if path.is_file() else {}
    if not isinstance(options, dict):
        raise InputError("not a JSON object", str(path), "restore the model's own file")
    if options.get("split_special_tokens"):
        raise InputError("split_special_tokens is true, only false is supported", str(path), "set it to false")
    for key, _ in _BERT_OPTIONS.values():
        value = options.get(key, False)
        if not isinstance(value, bool) and (key, value) != ("strip_accents", None):
            what = f"{key} is {value!r:.80}, not true or false"
            raise InputError(what, str(path), "restore the model's own file")
    return options


def _read_bundled(path: Path) -> tuple[TextRules | None, list[str]]:
    """Rules and vocabulary of a tokenizer.json; None: it is not BERT's."""
    try:
        backend = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception for whatever it cannot read
        raise InputError(f"cannot be read: {error}", str(path), "export the bundle again") from None
    vocabulary = backend.get_vocab()
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):  # to_str goes through every id up to the last
        raise InputError("its token ids are not 0, 1, 2 ...", str(path), "restore the file, or export again")
    return _rules_of(json.loads(backend.to_str()), str(path)), sorted(vocabulary, key=vocabulary.__getitem__)


def _rules_of(written: dict, where: str) -> TextRules | None:
    """The rules of a tokenizer.json; None: it is not BERT's. Raises InputError for words added to one of ours."""
    normalizer, model = written["normalizer"] or {}, written["model"]
    added = [added_word(token) for token in written["added_tokens"]]
    added = [word for word in added if word != AddedWord(word.content) or word.content not in SPECIAL_TOKENS]
    apart = sum(token["content"] not in model["vocab"] for token in written["added_tokens"])
    for lowercase in (True, False):
        ours = json.loads(_build(SPECIAL_TOKENS, TextRules(lowercase)).to_str())
        if all(written[part] == ours[part] for part in ("normalizer", "pre_tokenizer")):
            for word in added:
                if word.plain:
                    refuse_added_word(word.content, where)
            return TextRules(lowercase, apart=apart).with_added(added)
    plain = ("WordPiece", "[UNK]", "##", 100)
    keys = ("type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
    if normalizer.get("type") != "BertNormalizer" or written["pre_tokenizer"] != {"type": "BertPreTokenizer"}:
        return None
    if not normalizer["clean_text"] or tuple(model.get(key) for key in keys) != plain:
        return None
    own = {name: normalizer[key] for name, (_, key) in _BERT_OPTIONS.items()}
    return TextRules(bert=True, apart=apart, **own).with_added(added)


def _rules_by_options(options: dict, path: Path) -> TextRules:
    """The rules of a tokenizer_config.json beside a `vocab.txt`; lower case if it does not say, as in both libraries.

    transformers' rules where transformers has written it, else PaddleNLP's.
    """
    rules = TextRules(bool(options.get("do_lower_case", True)), bert=any(key in options for key in _TRANSFORMERS))
    supported: dict[str, list] = {"do_basic_tokenize": [True], "never_split": [None, []], **_SPECIAL_OPTIONS}
    if rules.bert:
        chinese = bool(options.get("tokenize_chinese_chars", True))
        rules = replace(rules, strip_accents=options.get("strip_accents"), chinese=chinese)
    else:
        supported |= {"tokenize_chinese_chars": [True], "strip_accents": [None, rules.lowercase]}
    _refuse_others(options, supported, (), path)
    return rules


def _refuse_others(options: dict, supported: dict[str, list], more: tuple[str, ...], path: Path) -> None:
    """Raises InputError for options that are not supported, or a class that is not of word pieces, nor in `more`."""
    kind = options.get("init_class") or options.get("tokenizer_class") or "BertTokenizer"
    given = {key: options.get(key, plain[0]) for key, plain in supported.items()}
    given = {key: value.get("content") if isinstance(value, dict) else value for key, value in given.items()}
    unsupported = [f"{key}={value!r}" for key, value in given.items() if value not in supported[key]]
    if str(kind) not in more and str(kind).removesuffix("Fast") not in _TOKENIZER_CLASSES:
        unsupported.insert(0, f"tokenizer_class={kind!r}")
    if unsupported:
        what = f"this tokenizer is not supported: {', '.join(unsupported)}"
        raise InputError(what, str(path), f"use a model with a word piece tokenizer ({', '.join(_TOKENIZER_CLASSES)})")
