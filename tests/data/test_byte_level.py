"""Byte-level byte pairs: the ids that `tokenizers` gives, as transformers' RobertaTokenizer has them, or a refusal."""

import json
import pickle

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, pre_tokenizers

from paddle_ernie_tiny.data.corpus import LineEncoder
from paddle_ernie_tiny.data.tokenization import read_tokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.training.tasks import Masking

from ..byte_pairs import LINES, NASTY, byte_level_folder, learnt

BOS, PAD, EOS, UNK, MASK = range(5)
ROBERTA = {"tokenizer_class": "RobertaTokenizer"}


@pytest.fixture
def tokenizer(tmp_path):
    byte_level_folder(tmp_path / "own", options=ROBERTA)
    return read_tokenizer(tmp_path / "own")


def ids_of(backend, texts=NASTY):
    return [backend.encode(text, add_special_tokens=False).ids for text in texts]


class TestIds:
    @pytest.mark.parametrize("files", [("tokenizer.json",), ("merges.txt",)])
    @pytest.mark.parametrize("prefix", [False, True])
    def test_those_of_the_original_and_again_after_saving(self, tmp_path, files, prefix):
        backend = byte_level_folder(tmp_path / "theirs", files, {**ROBERTA, "add_prefix_space": prefix})
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        tokenizer = read_tokenizer(tmp_path / "theirs")
        tokenizer.save(tmp_path / "ours")
        for each in (tokenizer, read_tokenizer(tmp_path / "ours"), pickle.loads(pickle.dumps(tokenizer))):
            assert each.encode_plain(NASTY) == ids_of(backend)
            assert each.fingerprint == tokenizer.fingerprint

    def test_those_of_an_older_file(self, tmp_path, tokenizer):
        """Of tokenizers 0.8: without the model's type, and merges as one text each."""
        byte_level_folder(tmp_path / "old")
        written = json.loads((tmp_path / "old" / "tokenizer.json").read_text(encoding="utf-8"))
        for key in ("type", "byte_fallback", "ignore_merges"):
            written["model"].pop(key, None)
        written["model"]["merges"] = [" ".join(pair) for pair in written["model"]["merges"]]
        del written["pre_tokenizer"]["use_regex"]
        (tmp_path / "old" / "tokenizer.json").write_text(json.dumps(written), encoding="utf-8")
        assert read_tokenizer(tmp_path / "old").fingerprint == tokenizer.fingerprint

    def test_nothing_is_unknown_or_lost(self, tokenizer):
        texts = [text for text in NASTY if "<" not in text]
        rows = tokenizer.encode_plain(texts)
        assert UNK not in {index for row in rows for index in row}
        assert [tokenizer._backend.decode(row) for row in rows] == texts

    def test_single_texts_and_pairs(self, tokenizer):
        theirs = Tokenizer.from_str(learnt())
        encoded = tokenizer.encode(NASTY, NASTY[::-1], max_length=2000)
        assert encoded.input_ids == [theirs.encode(*pair).ids for pair in zip(NASTY, NASTY[::-1], strict=True)]
        assert {index for row in encoded.token_type_ids for index in row} == {0}, "one segment"
        (alone,) = tokenizer.encode(["a"]).input_ids
        (pair,) = tokenizer.encode(["a"], ["b"]).input_ids
        assert alone == [BOS, alone[1], EOS] and pair == [*alone, EOS, pair[4], EOS]

    def test_a_pair_is_cut_to_its_room(self, tokenizer):
        encoded = tokenizer.encode(["b" * 40], ["c d"], max_length=10)
        assert len(encoded.input_ids[0]) == 10 and encoded.truncated == 1
        with pytest.raises(InputError, match="leaves no room"):
            tokenizer.encode(["a"], ["b"], max_length=4)

    def test_a_giant_text_keeps_its_first_tokens(self, tokenizer):
        giant = "  " + "good " * 100_000
        assert (
            tokenizer.encode([giant], max_length=9).input_ids == tokenizer.encode([giant[:60]], max_length=9).input_ids
        )

    def test_roles(self, tokenizer):
        roles = tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id
        assert roles == (PAD, UNK, BOS, EOS, MASK)

    def test_words_of_a_row_have_a_blank_before_them(self, tokenizer):
        backend = Tokenizer.from_str(learnt())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        words = ["The", "room", "房间", "<mask>", "</s>", " b"]
        encoded, places = tokenizer.encode_words([words], max_length=100)
        assert encoded.input_ids == [backend.encode(words, is_pretokenized=True).ids]
        firsts = [encoded.input_ids[0][place] for place in places[0]]
        assert firsts == [backend.encode(word, add_special_tokens=False).ids[0] for word in words]

    def test_offsets_are_without_blanks(self, tokenizer):
        (encoding,) = tokenizer.encode_with_offsets([" room is bad,不"])
        found = [" room is bad,不"[start:end] for start, end in encoding.offsets]
        assert found == ["room", "is", "bad", ",", "不", "不", "不"][: len(found)] and len(found) > 4


class TestAddedWords:
    WORDS = [AddedToken("hotel", single_word=True, normalized=True), AddedToken("<e1>", special=True, lstrip=True)]
    TEXTS = ["hotel hotels Hotel", "a <e1>b", " <mask><e1>"]

    @pytest.mark.parametrize("named", ["tokenizer.json", "tokenizer_config.json"])
    def test_keep_the_original_s_ids(self, tmp_path, named):
        backend = byte_level_folder(tmp_path / "theirs", words=self.WORDS, options=ROBERTA)
        expected = ids_of(backend, self.TEXTS)
        if named == "tokenizer_config.json":
            size = backend.get_vocab_size()
            flags = [{"content": "hotel", "single_word": True, "special": False, "normalized": True}]
            flags.append({"content": "<e1>", "special": True, "lstrip": True, "normalized": False})
            decoder = {str(size - 2 + i): entry for i, entry in enumerate(flags)}
            byte_level_folder(tmp_path / "theirs", options={**ROBERTA, "added_tokens_decoder": decoder})
        tokenizer = read_tokenizer(tmp_path / "theirs")
        tokenizer.save(tmp_path / "ours")
        assert tokenizer.encode_plain(self.TEXTS) == expected
        assert read_tokenizer(tmp_path / "ours").encode_plain(self.TEXTS) == expected
        assert tokenizer.tokens[-2:] == ["hotel", "<e1>"]

    def test_change_the_fingerprint(self, tmp_path, tokenizer):
        byte_level_folder(tmp_path / "theirs", words=self.WORDS)
        assert read_tokenizer(tmp_path / "theirs").fingerprint != tokenizer.fingerprint


def _changed(change):
    def apply(folder):
        written = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        change(written)
        (folder / "tokenizer.json").write_text(json.dumps(written), encoding="utf-8")

    return apply


def _options(**options):
    return lambda folder: (folder / "tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")


FOREIGN = {
    "a normalizer": (_changed(lambda w: w.update(normalizer={"type": "NFC"})), "another normalizer or pre_tokenizer"),
    "another split": (_changed(lambda w: w.update(pre_tokenizer={"type": "Whitespace"})), "another normalizer"),
    "no split": (_changed(lambda w: w.update(pre_tokenizer=None)), "another normalizer"),
    "dropout": (_changed(lambda w: w["model"].update(dropout=0.1)), "dropout is 0.1"),
    "prefixes": (_changed(lambda w: w["model"].update(continuing_subword_prefix="@@")), "prefix is '@@'"),
    "no mask": (_changed(lambda w: (w["model"]["vocab"].pop("<mask>"), w["added_tokens"].pop())), "tokens <mask>"),
    "lacks bytes": (_changed(lambda w: w["model"]["vocab"].pop("!")), "lacks 1 of the 256 bytes"),
    "a gap": (_changed(lambda w: w["model"]["vocab"].update({"zz": 9999})), "ids are not 0, 1, 2"),
    "foreign merges": (_changed(lambda w: w["model"]["merges"].append(["zz", "zz"])), "cannot be read"),
    "another class": (_options(tokenizer_class="LlamaTokenizer"), "tokenizer_class='LlamaTokenizer'"),
    "another role": (_options(cls_token="[CLS]"), r"cls_token='\[CLS\]'"),
    "split specials": (_options(split_special_tokens=True), "split_special_tokens is true"),
    "not options": (lambda f: (f / "tokenizer_config.json").write_text("[]"), "not a JSON object"),
    "no vocabulary": (_changed(lambda w: w["model"].pop("vocab")), "cannot be read"),
    "cut off": (lambda f: (f / "tokenizer.json").write_text("{"), "cannot be read"),
    "an id of another": (
        _options(added_tokens_decoder={"7": {"content": "zzz", "special": True}}),
        "'zzz' has the id 7, the vocabulary gives it",
    ),
}


@pytest.mark.parametrize("fault", FOREIGN)
def test_what_would_have_other_ids_is_refused(fault, tmp_path):
    byte_level_folder(tmp_path / "model", options=ROBERTA)
    change, message = FOREIGN[fault]
    change(tmp_path / "model")
    with pytest.raises(InputError, match=message) as raised:
        read_tokenizer(tmp_path / "model")
    assert str(tmp_path / "model") in raised.value.where and raised.value.remedy


def test_two_files_that_do_not_belong_together(tmp_path):
    byte_level_folder(tmp_path, ("merges.txt",))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nq q\nqq qq\n", encoding="utf-8")
    with pytest.raises(InputError, match="vocab.json and merges.txt cannot be read"):
        read_tokenizer(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(InputError, match="no vocab.txt here"):
        read_tokenizer(tmp_path)


class TestMasking:
    def test_a_word_begins_at_a_blank_or_as_jieba_cuts_chinese(self, tokenizer):
        encoder = LineEncoder(tokenizer, 64, True)
        lines = ["The room is clean, friendly don't", " 我们喜欢北京 good"]
        ids, lengths, starts = encoder(lines)
        words, place = [], 0
        for length in lengths:
            row, flags = ids[place : place + length].tolist(), starts[place : place + length]
            cut = np.split(np.array(row), np.flatnonzero(flags)[1:])
            words.append([tokenizer._backend.decode(word.tolist(), skip_special_tokens=False) for word in cut])
            place += length
        assert words[0] == ["<s>", "The", " room", " is", " clean,", " friendly", " don't", "</s>"]
        assert [word.strip() for word in words[1]] == ["<s>", "我们", "喜欢", "北京", "good", "</s>"]

    def test_a_blank_at_the_end_and_nothing_but_blanks(self, tokenizer):
        ids, lengths, starts = LineEncoder(tokenizer, 64, True)(["a ", "  \t "])
        assert len(ids) == lengths.sum() == len(starts)

    def test_only_text_is_masked(self, tokenizer):
        (row,) = tokenizer.encode(["The room is clean"]).input_ids
        masking = Masking(tokenizer, 0.999, False)
        batch = masking([{"input_ids": row}, {"input_ids": row[:3] + row[-1:]}], np.random.RandomState(0))
        assert set(batch["targets"].tolist()) <= set(row[1:-1])
        assert batch["input_ids"][0, 0] == BOS and MASK in batch["input_ids"][0] and batch["input_ids"][1, -1] == PAD


class TestPruning:
    @pytest.mark.parametrize("size", [300, 330, 400])
    def test_texts_of_the_corpus_keep_their_tokens(self, size, tmp_path):
        (tmp_path / "tokenizer.json").write_text(learnt(size), encoding="utf-8")
        tokenizer = read_tokenizer(tmp_path)
        lines = LINES[:4]
        used = {index for row in tokenizer.encode_plain(lines) for index in row}
        special = {tokenizer.tokens.index(token) for token in tokenizer.never_cut}
        kept = sorted(tokenizer.needed(used | special))
        smaller = tokenizer.keep(kept)
        assert {*range(5), *used} <= set(kept) and smaller.vocab_size == len(kept) < tokenizer.vocab_size
        for before, after in zip(tokenizer.encode_plain(lines), smaller.encode_plain(lines), strict=True):
            assert [kept[index] for index in after] == before
        assert [smaller._backend.decode(row) for row in smaller.encode_plain(["不同 text"])] == ["不同 text"]
        smaller.save(tmp_path / "smaller")
        assert read_tokenizer(tmp_path / "smaller").fingerprint == smaller.fingerprint


def test_pieces_show_what_continues_a_word(tokenizer):
    pieces = dict(zip(tokenizer.tokens, tokenizer.pieces, strict=True))
    assert pieces["Ġthe"] == "the" and pieces["s"] == "##s" and pieces["<mask>"] == pieces["Ä"] == ""
