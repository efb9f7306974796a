"""A small byte-level vocabulary, learnt by `tokenizers`, in the forms in which folders hold one."""

import json
from functools import cache

from tokenizers import ByteLevelBPETokenizer, Tokenizer, processors

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LINES = [
    "The room is clean and the staff is friendly, really friendly.",
    "The food was bad; we don't like this hotel at all!",
    "Zimmer schön, Café très bon, naïve façade",
    "房间很宽敞，位置不错。",
    "good better best, bad worse worst",
] * 8
NASTY = [
    "",
    " ",
    "The room",
    " The room",
    "  two  blanks  ",
    "\tTabs\nand\r\nlines\n",
    "房间很宽敞，The hotel不错",
    "e\u0301 é É naïve ﬁ",
    "😀 👩‍👩‍👧 🇨🇳",
    "x\x00y\x07z\x7f\u200b\u200d\ufeff",
    "a\u00a0b\u3000c\u2028d",
    "don't I'LL 123abc 12,345.6 __init__ ???!!!",
    "<s>a</s> <mask> <pad>x<unk> [MASK] < s >",
    "a" * 300,
    "\U0010ffff\ue000 \ufffd",
    "Ġ Ċ",
]


@cache
def learnt(size=400):
    """The content of a tokenizer.json as transformers writes it for RoBERTa, with `size` tokens."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(LINES, vocab_size=size, min_frequency=2, special_tokens=SPECIAL, show_progress=False)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>")]
    tokenizer._tokenizer.post_processor = processors.RobertaProcessing(*ids, add_prefix_space=False)
    return tokenizer._tokenizer.to_str()


def byte_level_folder(folder, files=("tokenizer.json",), options=None, words=()):
    """Writes the tokenizer's files into a folder; `words` are added tokens. The backend of `tokenizers`."""
    backend = Tokenizer.from_str(learnt())
    backend.add_tokens(list(words))
    folder.mkdir(exist_ok=True)
    if "tokenizer.json" in files:
        backend.save(str(folder / "tokenizer.json"))
    if "merges.txt" in files:
        backend.model.save(str(folder))
    if options is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")
    return backend
