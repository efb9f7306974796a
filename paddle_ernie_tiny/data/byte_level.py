"""Byte-level byte pairs, as the English RoBERTa has them: every text can be cut, and nothing is unknown.

A text is cut into words, each with the blank before it. A word is written with one character for each of its bytes (`Ġ`
for a blank), and neighbours are merged in the order of the vocabulary's merges. `tokenizers` does it, as for
transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from ..errors import InputError
from ..files import read_json, text_sha256, write_json, write_text
from .text_tokenizer import ROLES, TextTokenizer, encodable
from .vocabulary import AddedWord, added_word, read_added_tokens

VOCABULARY, MERGES = "vocab.json", "merges.txt"
_ALPHABET = pre_tokenizers.ByteLevel.alphabet()  # a character for each byte
_CLASSES = ("RobertaTokenizer", "RobertaTokenizerFast", "RobertaBPETokenizer")
WHOLE_FILE = ("PreTrainedTokenizerFast", "TokenizersBackend")  # transformers' classes that do what tokenizer.json says
_PLAIN: dict[str, tuple] = {
    **dict.fromkeys(("continuing_subword_prefix", "end_of_word_suffix"), (None, "")),
    **dict.fromkeys(("dropout", "byte_fallback", "ignore_merges"), (None, False)),
}
_REMEDY = "use RoBERTa's own tokenizer files, or a model with a word piece vocabulary"


class ByteLevelTokenizer(TextTokenizer):
    """Text to token ids, as transformers' RobertaTokenizer does it, from the content of a tokenizer.json.

    A row is `<s> a </s>` or `<s> a </s></s> b </s>`, with one token type. A word of a row of words is cut with a blank
    before it, as transformers does it. Raises InputError, which names `where`, for another kind of tokenizer.
    """

    special = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
    between, segments, blank = 2, 1, "Ġ"

    def __init__(self, written: dict[str, Any], where: str = "tokenizer.json"):
        if what := _unlike_roberta(written):  # before it is read: some of these settings end tokenizers in a panic
            raise InputError(what, where, _REMEDY)
        try:
            backend = Tokenizer.from_str(json.dumps({**written, "truncation": None, "padding": None}))
        except Exception as error:  # tokenizers raises plain Exception for whatever it cannot read
            raise InputError(f"the tokenizer cannot be read: {error}", where, _REMEDY) from None
        vocabulary = backend.get_vocab()
        if missing := [token for token in self.special if token not in vocabulary]:
            raise InputError(f"the vocabulary lacks the special tokens {', '.join(missing)}", where, _REMEDY)
        if missing := [byte for byte in _ALPHABET if byte not in written["model"]["vocab"]]:
            raise InputError(f"the vocabulary lacks {len(missing)} of the 256 bytes", where, _REMEDY)
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise InputError("its token ids are not 0, 1, 2 ...", where, "restore the file, or export again")
        # older files leave keys out; only now, as to_str goes through every id up to the last
        written = json.loads(backend.to_str())
        self.prefix: bool = written["pre_tokenizer"]["add_prefix_space"]  # is the beginning of a text after a blank?
        # for offsets without blanks, and for other users of tokenizer.json: we add the special tokens ourselves
        last, first = ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"])
        backend.post_processor = processors.RobertaProcessing(last, first, add_prefix_space=self.prefix)
        super().__init__(backend, sorted(vocabulary, key=vocabulary.__getitem__))

    @classmethod
    def read(cls, folder: Path, options: dict[str, Any]) -> ByteLevelTokenizer:
        """From `tokenizer.json`, else `vocab.json` and `merges.txt`; `options`: the content of tokenizer_config.json.

        Raises InputError for files that cannot be read, or whose ids would not be those of transformers.
        """
        where, file = str(folder / "tokenizer_config.json"), folder / "tokenizer.json"
        name = options.get("init_class") or options.get("tokenizer_class") or _CLASSES[0]
        if name not in _CLASSES + WHOLE_FILE * file.is_file():
            raise InputError(f"tokenizer_class={name!r} with a byte-level vocabulary", where, _REMEDY)
        for role, own in zip(ROLES, cls.special):  # noqa: B905 (Python 3.9)
            given = options.get(f"{role}_token") or own
            if own != (given.get("content") if isinstance(given, dict) else given):
                raise InputError(f"this tokenizer is not supported: {role}_token={given!r}", where, _REMEDY)
        written = read_json(file) if file.is_file() else _from_two_files(folder, options, cls.special)
        read = cls(written, str(folder))
        written = json.loads(read._backend.to_str())
        if name in _CLASSES and "add_prefix_space" in options:
            written["pre_tokenizer"]["add_prefix_space"] = bool(options["add_prefix_space"])
        more = read_added_tokens(folder, options, read.tokens, cls.special, plain=True)
        known = {token["content"] for token in written["added_tokens"]}
        read._backend.add_tokens([AddedToken(**asdict(word)) for word in more if word.content not in known])
        written["added_tokens"] = json.loads(read._backend.to_str())["added_tokens"]
        return cls(written, str(folder))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of vocabulary, merges, added words and the blank at the beginning: equal means equal ids."""
        written = json.loads(self._backend.to_str())
        parts = [written[key] for key in ("model", "added_tokens")]
        return text_sha256(json.dumps([*parts, {"prefix": self.prefix}], sort_keys=True))

    @property
    def never_cut(self) -> set[str]:
        """Special tokens, and words that were added to the vocabulary."""
        return {token["content"] for token in json.loads(self._backend.to_str())["added_tokens"]}

    @cached_property
    def pieces(self) -> list[str]:
        """Each token as a part of a word's text, with `##` before one that continues a word; "" for broken UTF-8."""
        to_text, found = decoders.ByteLevel(), []
        for token in self.tokens:
            text = "" if token in self.special else to_text.decode([token])
            text = "" if "\ufffd" in text else text
            found.append(text[1:] if text.startswith(" ") else f"##{text}" if text else "")
        return found

    def save(self, folder: str | Path) -> None:
        """Writes `tokenizer.json`, and `vocab.json` and `merges.txt` for PaddleNLP, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = json.loads(self._backend.to_str())
        write_json(folder / VOCABULARY, written["model"]["vocab"])
        merges = [" ".join(pair) for pair in _merges(written)]
        write_text(folder / MERGES, "\n".join(["#version: 0.2", *merges]) + "\n")
        write_text(folder / "tokenizer.json", self._backend.to_str(pretty=True))

    def options(self, classes: str) -> dict[str, Any]:
        """The content of `tokenizer_config.json`, for PaddleNLP."""
        names = {"tokenizer_class": f"{classes}Tokenizer", "init_class": "RobertaBPETokenizer"}
        return {**names, "add_prefix_space": self.prefix, **super().options(classes)}

    def keep(self, ids: Sequence[int]) -> ByteLevelTokenizer:
        """A tokenizer with these of its tokens, ascending, under new ids, and the merges that make no others."""
        written = json.loads(self._backend.to_str())
        new = {self.tokens[old]: place for place, old in enumerate(ids)}
        model = written["model"]
        model["vocab"] = {token: new[token] for token in model["vocab"] if token in new}
        model["merges"] = [pair for pair in _merges(written) if {*pair, "".join(pair)} <= new.keys()]
        written["added_tokens"] = [{**token, "id": new[token["content"]]} for token in written["added_tokens"]]
        return ByteLevelTokenizer(written)

    def needed(self, ids: set[int]) -> set[int]:
        """The ids with the single bytes, and with what the merges make on the way to a token.

        A token comes about in any text by the same merges as alone: none of them reaches beyond it.
        """
        written = json.loads(self._backend.to_str())
        ranks = {tuple(pair): rank for rank, pair in enumerate(_merges(written))}
        id_of = {token: index for index, token in enumerate(self.tokens)}
        found = {*ids, *(id_of[byte] for byte in _ALPHABET)}
        for index in ids - {id_of[token] for token in self.never_cut}:
            parts = list(self.tokens[index])
            while len(parts) > 1:
                pairs = list(zip(parts, parts[1:]))  # noqa: B905 (Python 3.9)
                place = min(range(len(pairs)), key=lambda i: (ranks.get(pairs[i], len(ranks)), i))
                if pairs[place] not in ranks:
                    break
                parts[place : place + 2] = ["".join(pairs[place])]
                found.add(id_of[parts[place]])
        return found

    def _encode_each_word(self, words: Sequence[str]) -> list[list[int]]:
        return [row.ids for row in self._of_words.encode_batch_fast(encodable(words), add_special_tokens=False)]

    @cached_property
    def _of_words(self) -> Tokenizer:
        if self.prefix:
            return self._backend
        backend = Tokenizer.from_str(self._backend.to_str())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        return backend


def is_byte_level(written: Any) -> bool:
    """Is this the content of a tokenizer.json with byte pairs?"""
    model = written.get("model") if isinstance(written, dict) else None
    return isinstance(model, dict) and "merges" in model  # older files do not name the model's type


def _merges(written: dict[str, Any]) -> list[list[str]]:
    """Of a tokenizer.json: pairs, which older versions write as one text."""
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in written["model"]["merges"]]


def _unlike_roberta(written: dict[str, Any]) -> str:
    """Which setting of a tokenizer.json is not as RoBERTa has it; "": none."""
    step, model = written.get("pre_tokenizer") or {}, written["model"]
    if written.get("normalizer") is not None or step.get("type") != "ByteLevel" or not step.get("use_regex", True):
        return "the byte pairs of tokenizer.json are not RoBERTa's: another normalizer or pre_tokenizer"
    for key, plain in _PLAIN.items():
        if model.get(key) not in plain:
            return f"the byte pairs of tokenizer.json are not RoBERTa's: {key} is {model[key]!r}"
    return ""


def _from_two_files(folder: Path, options: dict[str, Any], special: tuple[str, ...]) -> dict[str, Any]:
    """`vocab.json` and `merges.txt` as the content of a tokenizer.json, as transformers builds it from them."""
    files = [folder / VOCABULARY, folder / MERGES]
    try:
        vocabulary, merges = models.BPE.read_file(*map(str, files))
        backend = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False))
    except Exception as error:  # tokenizers raises plain Exception for whatever it cannot read
        raise InputError(f"{VOCABULARY} and {MERGES} cannot be read: {error}", str(folder), "copy both again") from None
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(options.get("add_prefix_space")))
    given = [*(options.get("added_tokens_decoder") or {}).values(), *options.values()]
    known = {entry["content"]: added_word({**entry, "special": True}) for entry in given if _is_token(entry)}
    backend.add_tokens([AddedToken(**asdict(known.get(name, AddedWord(name)))) for name in special])
    return json.loads(backend.to_str())


def _is_token(entry: Any) -> bool:
    return isinstance(entry, dict) and "content" in entry
