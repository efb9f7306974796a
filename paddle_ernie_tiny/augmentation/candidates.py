"""Words of a text, and what may replace them: predictions of a masked language model, neighbours by word vectors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.text_tokenizer import TextTokenizer
from ..data.words import cut_words, word_counts
from ..errors import InputError
from ..files import utf8_lines
from ..models.architectures import usable_positions

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
# A word is replaced by one of its own script; what has none (punctuation, symbols, `T恤`) is left alone.
_SCRIPTS = {
    "chinese": re.compile(f"[{_CHINESE}]+"),
    "letters": re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]+"),
    "number": re.compile("[0-9]+"),
}
_ENGLISH = re.compile(r"[^\W_](?:\S*[^\W_])?")  # between spaces, from the first letter or digit to the last
_MAX_PIECES = 8  # longer words (links, serial numbers) are not predicted
# With [CLS] and [SEP]; of longer texts, what is around the word. The time of a forward pass on a CPU goes with it.
_CONTEXT_TOKENS = 64
_BEAM = 64
_PLACES = ("chinese", "letters", "##letters", "number", "##number")
_BLOCK_LINES = 4096
_REMEDY = "give word vectors as text: a word and its numbers per line"
Candidates = list[tuple[str, float]]  # the pieces that a place may hold, with their logits


@dataclass(frozen=True, eq=False)
class Word:
    """A replaceable word, its start in its text, and the token ids of the text: ids[first:last] are its pieces."""

    text: str
    start: int
    script: str
    ids: list[int]
    first: int
    last: int

    @property
    def pieces(self) -> int:
        """How many pieces it has; 0 if it is not predicted."""
        return self.last - self.first


@dataclass(frozen=True)
class Text:
    """A text and its replaceable words in order."""

    text: str
    words: list[Word]

    def with_words(self, replacements: dict[Word, str]) -> str:
        """The text with the given ones of its words replaced; everything else stays as it is."""
        text = self.text
        for word in reversed(self.words):
            if word in replacements:
                text = text[: word.start] + replacements[word] + text[word.start + len(word.text) :]
        return text


def script_of(word: str) -> str | None:
    """The script of a word: "chinese", "letters" or "number"; None for all others."""
    return next((script for script, pattern in _SCRIPTS.items() if pattern.fullmatch(word)), None)


def analyse(texts: Sequence[str], tokenizer: TextTokenizer, language: str) -> list[Text]:
    """Cuts texts into words: as jieba cuts them (zh), or at spaces, without the punctuation around them (en).

    English words of several pieces are not predicted (TinyBERT, arXiv 1909.10351, algorithm 1), nor are words whose
    borders are not those of their pieces, nor, where tokens show the blank before them, words without one.
    """
    most = 1 if language == "en" or tokenizer.blank else _MAX_PIECES
    cuts, encodings, pieces = cut_texts(texts, language), tokenizer.encode_with_offsets(texts), tokenizer.pieces
    result = []
    for text, cut, encoding in zip(texts, cuts, encodings, strict=True):
        ids, words = encoding.ids, []
        first_at = {start: index for index, (start, _) in reversed(list(enumerate(encoding.offsets)))}
        last_at = {end: index + 1 for index, (_, end) in enumerate(encoding.offsets)}
        for start, word, script in cut:
            first, last = first_at.get(start, len(ids)), last_at.get(start + len(word), 0)
            after = [] if tokenizer.blank else ids[last : last + 1]  # punctuation continues a word of byte pairs
            borders = [pieces[piece] for piece in (*ids[first : first + 1], *after)]
            if not first < last <= first + most or any(piece.startswith("##") for piece in borders):
                first = last = 0
            words.append(Word(word, start, script, ids, first, last))
        result.append(Text(text, words))
    return result


def cut_texts(texts: Sequence[str], language: str) -> list[list[tuple[int, str, str]]]:
    """(start, word, script) of each text's words that have a script, as `analyse` cuts them."""
    if language == "en":
        cut = [[(match.start(), match.group()) for match in _ENGLISH.finditer(text)] for text in texts]
    else:
        cut = [[(start, word) for word, start, _ in words] for words in cut_words(texts)]
    return [[(start, word, script) for start, word in row if (script := script_of(word))] for row in cut]


class WordPredictor:
    """Replacements of words, by the masked LM `model` (whose `eval()` mode it sets).

    All pieces of a word are masked at once, and with it further words of the text, `tokens_between` tokens apart: at 8,
    about one token in ten is masked, and BERT was trained with one in seven. More than a text has is one word per pass,
    as in TinyBERT, at several times the cost. Of the `candidates` most probable tokens of each place, those that
    continue to a word of the same script are combined, the best sums of log-probabilities first: Chinese words are
    in jieba's dictionary, others begin with a whole piece and continue with `##` ones. Special tokens, punctuation and
    the word itself are never among them.
    """

    def __init__(
        self, model: Any, tokenizer: TextTokenizer, candidates: int, rows_per_batch: int, tokens_between: int = 8
    ):
        import paddle

        model.eval()
        self.model, self.tokenizer = model, tokenizer
        self.candidates, self.rows_per_batch, self.tokens_between = candidates, rows_per_batch, tokens_between
        self.context = min(_CONTEXT_TOKENS, usable_positions(model.config.to_dict()))
        self.tokens, self.counts = tokenizer.pieces, word_counts()
        # [places, vocab]: 0 for a token that the place may hold, minus infinity for others
        allowed = np.full((len(_PLACES), model.config.vocab_size), -np.inf, dtype=np.float32)
        for index, token in enumerate(self.tokens):
            piece = token.removeprefix("##")
            place = token[: len(token) - len(piece)] + (script_of(piece) or "")
            if place in _PLACES and (place != "chinese" or len(token) == 1):
                allowed[_PLACES.index(place), index] = 0
        self.allowed = paddle.to_tensor(allowed)

    def __call__(self, wanted: Sequence[Word], progress: Callable[[int], object] = lambda _: None) -> list[list[str]]:
        """The replacements of each word, the most probable first; at most `candidates` of each.

        Runs `rows_per_batch` masked texts of similar length at a time; `progress` gets the number of words of each.
        """
        groups = sorted(self.groups(wanted), key=lambda group: min(len(group[0].ids), self.context - 2))
        result: dict[Word, list[str]] = {}
        for start in range(0, len(groups), self.rows_per_batch):
            batch = groups[start : start + self.rows_per_batch]
            places, words = iter(self._forward(batch)), [word for group in batch for word in group]
            result.update({word: self.words(word, [next(places) for _ in range(word.pieces)]) for word in words})
            progress(len(words))
        return [result[word] for word in wanted]

    def groups(self, wanted: Sequence[Word]) -> list[list[Word]]:
        """Which of the words are masked together: of one text, far enough apart, within one context."""
        room = self.context - 2
        of_text: dict[int, list[list[Word]]] = {id(word.ids): [] for word in wanted}
        for word in sorted(wanted, key=lambda word: word.first):
            groups = of_text[id(word.ids)]
            # a part of a long text leaves as much room around its ends as between its words
            longest = room - 2 * self.tokens_between if len(word.ids) > room else room
            for group in groups:
                if word.last - group[0].first <= longest and word.first - group[-1].last >= self.tokens_between:
                    group.append(word)
                    break
            else:
                groups.append([word])
        return [group for groups in of_text.values() for group in groups]

    def masked(self, words: Sequence[Word]) -> tuple[list[int], list[int]]:
        """Token ids of the words' text, or of what fits around them, with them masked; and their first places."""
        room, first, last = self.context - 2, words[0].first, words[-1].last
        low = max(0, min(first - (room - (last - first)) // 2, len(words[0].ids) - room))
        ids = [self.tokenizer.cls_id, *words[0].ids[low : low + room], self.tokenizer.sep_id]
        places = [1 + word.first - low for word in words]
        for place, word in zip(places, words, strict=True):
            ids[place : place + word.pieces] = [self.tokenizer.mask_id] * word.pieces
        return ids, places

    def _forward(self, groups: list[list[Word]]) -> list[Candidates]:
        """For each masked place of the groups, in order: the allowed tokens with the highest logits."""
        import paddle

        from ..models.capture import masked_token_logits
        from ..training.batches import collate

        variants = [self.masked(group) for group in groups]
        arrays = collate([{"input_ids": ids} for ids, _ in variants], self.tokenizer.pad_id)
        inputs = {name: paddle.to_tensor(array) for name, array in arrays.items()}
        longest, positions, rows = arrays["input_ids"].shape[1], [], []
        for row, ((_, firsts), group) in enumerate(zip(variants, groups, strict=True)):
            for first, word in zip(firsts, group, strict=True):
                positions += [row * longest + first + i for i in range(word.pieces)]
                rows += [place_row(word.script, i) for i in range(word.pieces)]
        with paddle.no_grad():
            logits = masked_token_logits(self.model, inputs, paddle.to_tensor(np.array(positions))).astype("float32")
            logits = logits + paddle.gather(self.allowed, paddle.to_tensor(np.array(rows)))
            # one more than wanted: the word itself is often the most probable
            values, ids = paddle.topk(logits, min(self.candidates + 1, logits.shape[-1]))
        return [
            [(self.tokens[i].removeprefix("##"), score) for i, score in zip(*place, strict=True) if score > -np.inf]
            for place in zip(ids.numpy().tolist(), values.numpy().tolist(), strict=True)
        ]

    def words(self, word: Word, places: Sequence[Candidates]) -> list[str]:
        """The replacements of a word, from what each of its places may hold."""
        found = compose(places, self.counts if word.script == "chinese" and len(places) > 1 else None)
        return [other for other in found if other not in (word.text, word.text.lower())][: self.candidates]


def compose(places: Sequence[Candidates], known: dict[str, int] | None = None) -> list[str]:
    """Words made of one piece for each place, the highest sum of the pieces' scores first (a beam of 64).

    `known` keeps to words with a count above 0; beginnings of words are in it too. Logits rank as log-probabilities do.
    """
    beam = [("", 0.0)]
    for place in places:
        grown = [(head + piece, score + value) for head, score in beam for piece, value in place]
        if known is not None:
            grown = [(word, score) for word, score in grown if word in known]
        beam = sorted(grown, key=lambda item: (-item[1], item[0]))[:_BEAM]
    return [word for word, _ in beam if known is None or known.get(word)]


def place_row(script: str, index: int) -> int:
    """The row of `WordPredictor.allowed` for piece `index` of a word of this script."""
    return _PLACES.index(script if index == 0 or script == "chinese" else f"##{script}")


def nearest_words(path: Path, words: Iterable[str], count: int) -> dict[str, list[str]]:
    """The `count` nearest words of the same script for each of `words` (lower case), by cosine, the nearest first.

    `path` is text in word2vec's or GloVe's shape, UTF-8: a word and its numbers per line, separated by single spaces,
    with or without a first line of the two counts. Case is folded; of equal words the first counts; one that is not in
    it has no neighbours. It is read twice, so that memory holds only the vectors of `words` and a block of lines with
    its cosines (float32). Raises InputError for no such file, a line without its numbers, or none of `words` in it.
    """
    if not path.is_file():
        raise InputError("no such file of word vectors", str(path), "check augmentation.word_vectors")
    wanted = set(words)
    if not wanted:
        return {}
    own = dict(_unit_vectors(path, wanted))
    if not own:
        what = f"none of the {len(wanted)} different words of the task text has a vector here"
        remedy = "give vectors of the task's language, for words as augmentation.language cuts them"
        raise InputError(what, str(path), remedy)
    best: dict[str, list[tuple[float, str]]] = {word: [] for word in own}  # (minus the cosine, neighbour), sorted
    matrix, vectors = np.stack(list(own.values())), _unit_vectors(path)
    while block := list(itertools.islice(vectors, _BLOCK_LINES)):
        scripts = np.array([script_of(word) for word, _ in block])
        for word, cosines in zip(best, matrix @ np.stack([vector for _, vector in block]).T, strict=True):
            least = -best[word][-1][0] if len(best[word]) == count else -np.inf
            better = np.flatnonzero((cosines > least) & (scripts == script_of(word)))
            if len(better) > count:  # and one more, which may be the word itself
                better = better[np.argpartition(-cosines[better], count)[: count + 1]]
            new = [(-float(cosines[i]), block[i][0]) for i in better if block[i][0] != word]
            best[word] = sorted(best[word] + new)[:count]
    return {word: [near for _, near in ranked] for word, ranked in best.items()}


def _unit_vectors(path: Path, wanted: set[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Words in lower case and their vectors [dimensions] at length 1; of `wanted` only, if given."""
    seen: set[str] = set()
    width = 0
    for number, line in utf8_lines(path):
        if isinstance(line, InputError):
            continue  # published files hold broken words
        parts = line.rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            continue
        width = width or len(parts) - 1
        if not width or len(parts) <= width:
            raise InputError(f"{len(parts) - 1} numbers, the lines before have {width}", f"{path}:{number}", _REMEDY)
        # a few published files hold "words" with a space inside
        word = " ".join(parts[: len(parts) - width]).lower()
        if word in seen or (wanted is not None and word not in wanted) or script_of(word) is None:
            continue
        try:
            vector = np.array(parts[-width:], dtype=np.float32)
        except ValueError:
            vector = np.array([np.nan])
        if not np.isfinite(vector).all():
            raise InputError("not a word and its numbers", f"{path}:{number}", _REMEDY)
        seen.add(word)
        yield word, vector / max(float(np.linalg.norm(vector)), 1e-12)
