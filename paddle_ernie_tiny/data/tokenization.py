"""The one tokenisation path: training, export and prediction all go through `WordPieceTokenizer`.

Built on Rust `tokenizers`. The steps are those of PaddleNLP's `BasicTokenizer` followed by its
`WordpieceTokenizer`, written as regular expressions that are stored in `tokenizer.json`:

1. lower-case (if asked for), drop control characters, and when lower-casing also drop accents;
2. split at white space, and make every punctuation mark, symbol and Chinese character a word of its own.
   (Symbols are what plain BERT leaves inside words: `Apple😀` is two words here and in PaddleNLP.)
3. cut each word into the longest pieces of the vocabulary; a word over 100 characters is `[UNK]`.

The character classes are those of the Unicode version inside `tokenizers`, so a text has the same ids under
every Python. PaddleNLP takes them from Python's `unicodedata`; characters newer than that differ.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ..errors import InputError
from ..files import read_json, text_sha256, write_text
from .vocabulary import SPECIAL_TOKENS, learn_word_pieces, read_added_tokens, read_vocabulary, refuse_added_word

_PIPELINE_VERSION = 1  # part of the fingerprint; raise it when the steps change
_CHINESE = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
# PaddleNLP's `_is_symbol` counts these letters and numbers among the symbols.
_EXTRA_SYMBOLS = r"\x{B2}\x{B5}\x{BA}\x{D8}\x{14B}\x{1B1}\x{3007}"
_CONTROL = Regex(r"[\p{C}\x{FFFD}&&[^\t\n\r]]")
_CHARACTERS = 1 << 16  # of a row's text that are looked at: far more than its tokens need, and memory stays bounded
_SINGLE = Regex(rf"[\p{{P}}\p{{S}}{_EXTRA_SYMBOLS}{_CHINESE}]")
_TOKENIZER_CLASSES = tuple(f"{name}Tokenizer" for name in ("Bert", "Ernie", "Roberta", "RobertaChinese", "Electra"))
_FOLDER_REMEDY = "give the folder of a BERT, ERNIE, ELECTRA or Chinese RoBERTa model, with its vocab.txt"
# of `TextRules`: the key in a tokenizer_config.json, and in the normalizer of a tokenizer.json
_BERT_OPTIONS = {
    "lowercase": ("do_lower_case", "lowercase"),
    "strip_accents": ("strip_accents", "strip_accents"),
    "chinese": ("tokenize_chinese_chars", "handle_chinese_chars"),
}


@dataclass(frozen=True)
class TextRules:
    """How a text is cut before the pieces are looked up.

    bert: as transformers' BertTokenizer does it, which leaves symbols inside words, with its own switches for accents
    (None: as `lowercase`) and Chinese characters; else as PaddleNLP does. special: further tokens that are never cut.
    """

    lowercase: bool = True
    bert: bool = False
    strip_accents: bool | None = None
    chinese: bool = True
    special: tuple[str, ...] = ()


@dataclass
class Encoded:
    """Rows of token ids without padding; `truncated` counts the rows that were cut."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    truncated: int


class WordPieceTokenizer:
    """Text to token ids, as PaddleNLP's BertTokenizer and ErnieTokenizer do it. Instances can be pickled.

    `tokens` is the vocabulary by id; `rules` are given in place of `lowercase`. Special tokens in a text (`[SEP]`, in
    capitals) count as themselves, as in PaddleNLP. Raises ValueError for a vocabulary without the special tokens, or
    with a token twice.
    """

    def __init__(self, tokens: Sequence[str], lowercase: bool = True, rules: TextRules | None = None):
        self.rules = rules or TextRules(lowercase)
        if len(set(tokens)) != len(tokens) or not set(SPECIAL_TOKENS) <= set(tokens):
            raise ValueError(f"a vocabulary needs {', '.join(SPECIAL_TOKENS)}, and every token once")
        self.tokens, self.vocab_size, self.lowercase = list(tokens), len(tokens), self.rules.lowercase
        self._backend = _build(self.tokens, self.rules)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(self.tokens.index, SPECIAL_TOKENS)

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
        bundled, vocab = folder / "tokenizer.json", folder / "vocab.txt"
        path = folder / "tokenizer_config.json"
        options = read_json(path) if path.is_file() else {}
        if not isinstance(options, dict):
            raise InputError("not a JSON object", str(path), "restore the model's own file")
        rules, tokens = None, []
        if bundled.is_file():
            try:
                backend = Tokenizer.from_str(bundled.read_text(encoding="utf-8"))
            except Exception as error:  # tokenizers raises plain Exception for whatever it cannot read
                raise InputError(f"cannot be read: {error}", str(bundled), "export the bundle again") from None
            rules, vocabulary = _rules_of(json.loads(backend.to_str()), str(bundled)), backend.get_vocab()
            tokens = sorted(vocabulary, key=vocabulary.__getitem__)
            if rules is not None and sorted(vocabulary.values()) != list(range(len(tokens))):
                raise InputError("its token ids are not 0, 1, 2 ...", str(bundled), "restore the file, or export again")
        if rules is None and not vocab.is_file():
            found = "a tokenizer.json that this toolkit did not write and that is not BERT's, and no "
            what = f"{found * bundled.is_file() or 'no '}vocab.txt here" if folder.is_dir() else "no such folder"
            raise InputError(what, str(folder), _FOLDER_REMEDY)
        if rules is None:
            rules, tokens = TextRules(_read_lowercase(options, path)), read_vocabulary(vocab)
        elif rules.bert:
            given = {own: options.get(key, getattr(rules, own)) for own, (key, _) in _BERT_OPTIONS.items()}
            rules = replace(rules, **given)
        added = read_added_tokens(folder, options, tokens)
        special = tuple(dict.fromkeys((*rules.special, *added)))
        return cls([*tokens, *(t for t in added if t not in tokens)], rules=replace(rules, special=special))

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

    def encode(self, texts: Sequence[str], texts_b: Sequence[str] | None = None, max_length: int = 128) -> Encoded:
        """`[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, at most `max_length` tokens per row, not padded.

        A pair loses tokens from the end of whichever is longer, from b if they are equally long. Of a text, only the
        first 65,536 characters are looked at.
        Raises InputError for a `max_length` without room for text, ValueError for lists of unequal length.
        """
        if max_length < 3 + (texts_b is not None):
            raise InputError(f"max_length {max_length} leaves no room for text", remedy="give at least 8 tokens")
        if texts_b is not None and len(texts) != len(texts_b):
            raise ValueError(f"{len(texts)} first texts but {len(texts_b)} second texts")
        first, second = (
            self.encode_plain(_begin(texts)),
            None if texts_b is None else self.encode_plain(_begin(texts_b)),
        )
        encoded, room = Encoded([], [], 0), max_length - 2 - (second is not None)
        for row, a in enumerate(first):
            b = [] if second is None else second[row]
            keep_b = min(len(b), max(room // 2, room - len(a)))  # half of the room, or what a leaves free
            keep_a = min(len(a), room - keep_b)
            encoded.truncated += keep_a + keep_b < len(a) + len(b)
            head = [self.cls_id, *a[:keep_a], self.sep_id]
            tail = [] if second is None else [*b[:keep_b], self.sep_id]
            encoded.input_ids.append(head + tail)
            encoded.token_type_ids.append([0] * len(head) + [1] * len(tail))
        return encoded

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens and uncut."""
        return [row.ids for row in self._backend.encode_batch_fast(_encodable(texts), add_special_tokens=False)]

    def encode_words(self, rows: Sequence[Sequence[str]], max_length: int = 128) -> tuple[Encoded, list[np.ndarray]]:
        """`[CLS] words [SEP]` for rows of words, and the place of each word's first piece: int64 [words].

        Every word has at least one piece ([UNK] for one that the tokenizer drops, such as a control
        character). A row that is too long loses whole words from its end; those have no place.
        """
        pieces = iter(self.encode_plain(_begin([word for words in rows for word in words])))
        input_ids, places, truncated = [], [], 0
        for words in rows:
            row, starts = [self.cls_id], []
            of_words = [next(pieces) or [self.unk_id] for _ in words]
            for ids in of_words:
                if len(row) + len(ids) >= max_length:
                    break
                starts.append(len(row))
                row += ids
            truncated += len(starts) < len(words)
            input_ids.append([*row, self.sep_id])
            places.append(np.array(starts, dtype=np.int64))
        return Encoded(input_ids, [[0] * len(row) for row in input_ids], truncated), places

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoding]:
        """As `encode_plain`, but with `.ids` and `.offsets`: each token's (start, end) in the text."""
        return self._backend.encode_batch(_encodable(texts), add_special_tokens=False)

    def split_words(self, text: str) -> list[str]:
        """The words of a text after normalising, before they are cut into pieces."""
        normalized = self._backend.normalizer.normalize_str(*_encodable([text]))
        return [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(normalized)]


def pad_batch(rows: Sequence[Sequence[int]], pad_id: int, multiple_of: int = 1) -> np.ndarray:
    """Pads rows on the right to the longest, rounded up to `multiple_of`: int64 [batch, length]."""
    longest = max((len(row) for row in rows), default=0)
    batch = np.full((len(rows), -(-longest // multiple_of) * multiple_of), pad_id, dtype=np.int64)
    for index, row in enumerate(rows):
        batch[index, : len(row)] = row
    return batch


def batches_by_length(rows: list[list[int]], batch_size: int) -> list[np.ndarray]:
    """Indices of the rows, shortest first, `batch_size` at a time."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def train_vocabulary(lines: Iterable[str], size: int, lowercase: bool = True) -> WordPieceTokenizer:
    """Learns a vocabulary of at most `size` tokens from text. Raises InputError as `learn_word_pieces` does.

    Each Chinese character is a word. Memory grows with the number of different words, not with the text.
    """
    splitter = WordPieceTokenizer(SPECIAL_TOKENS, lowercase)
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(splitter.split_words(line))
    return WordPieceTokenizer(learn_word_pieces(counts, size), lowercase)


def cut_words(texts: Sequence[str]) -> list[list[tuple[str, int, int]]]:
    """(word, start, end) of each text's words, from jieba's dictionary.

    Its model for unknown words is off: it is slow, and what is in no dictionary is masked by character.
    """
    jieba = _jieba()
    return [list(jieba.tokenize(text, HMM=False)) for text in texts]


def word_counts() -> dict[str, int]:
    """jieba's dictionary: how often each word occurs; beginnings of words are in it too, with a count of 0."""
    jieba = _jieba()
    jieba.initialize()
    return jieba.dt.FREQ


def _jieba() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports the deprecated pkg_resources
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba


def _build(tokens: Sequence[str], rules: TextRules) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(tokens)}
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
    uncut = [AddedToken(token, special=True, normalized=False) for token in (*SPECIAL_TOKENS, *rules.special)]
    backend.add_special_tokens(uncut)
    # We add the special tokens ourselves; this is for other users of tokenizer.json.
    backend.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return backend


def _rules_of(written: dict, where: str) -> TextRules | None:
    """The rules of a tokenizer.json; None: it is not BERT's. Raises InputError for words that were added to it."""
    special = tuple(token["content"] for token in written["added_tokens"] if token["content"] not in SPECIAL_TOKENS)
    for token in written["added_tokens"]:
        if token["content"] in special and (not token["special"] or token["normalized"] or token["single_word"]):
            refuse_added_word(token["content"], where)
    for lowercase in (True, False):
        ours = json.loads(_build(SPECIAL_TOKENS, TextRules(lowercase)).to_str())
        if all(written[part] == ours[part] for part in ("normalizer", "pre_tokenizer")):
            return TextRules(lowercase, special=special)
    normalizer, model = written["normalizer"] or {}, written["model"]
    plain = ("WordPiece", "[UNK]", "##", 100)
    keys = ("type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
    if normalizer.get("type") != "BertNormalizer" or written["pre_tokenizer"] != {"type": "BertPreTokenizer"}:
        return None
    if not normalizer["clean_text"] or tuple(model.get(key) for key in keys) != plain:
        return None
    own = {name: normalizer[key] for name, (_, key) in _BERT_OPTIONS.items()}
    return TextRules(bert=True, special=special, **own)


def _begin(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str) or all(len(text) <= _CHARACTERS for text in texts):
        return texts
    return [text if len(text) <= _CHARACTERS else text.strip()[:_CHARACTERS] for text in texts]


def _encodable(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one string")
    # Half a surrogate pair (JSON can carry one) cannot be passed to Rust; PaddleNLP drops it as a control.
    return [text.encode(errors="ignore").decode() for text in texts]


def _read_lowercase(options: dict, path: Path) -> bool:
    """`do_lower_case` of a tokenizer_config.json (true if it does not say, as in PaddleNLP)."""
    name = options.get("tokenizer_class") or options.get("init_class") or "BertTokenizer"
    lowercase = bool(options.get("do_lower_case", True))
    supported: dict[str, list] = {
        "do_basic_tokenize": [True],
        "tokenize_chinese_chars": [True],
        "never_split": [None, []],
        "strip_accents": [None, lowercase],
        **{f"{name[1:-1].lower()}_token": [name, {"content": name}] for name in SPECIAL_TOKENS},
    }
    unsupported = [
        f"{key}={options[key]!r}" for key, plain in supported.items() if options.get(key, plain[0]) not in plain
    ]
    if name.replace("Fast", "") not in _TOKENIZER_CLASSES:
        unsupported.insert(0, f"tokenizer_class={name!r}")
    if unsupported:
        what = f"this tokenizer is not supported: {', '.join(unsupported)}"
        raise InputError(what, str(path), f"use a model with a word piece tokenizer ({', '.join(_TOKENIZER_CLASSES)})")
    return lowercase
