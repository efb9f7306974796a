"""Extractive reading: a question and a context, and the part of the context that answers it, or nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..data.windows import by_row
from .breakdown import by_label, of_metrics
from .kind import Kind, Row, said_truncated
from .metrics import fidelity, softmax
from .reading_scores import (
    END,
    ENDS,
    READING_METRICS,
    START,
    STARTS,
    Gold,
    ReadingSettings,
    ReadScored,
    all_spans,
    best_span,
    best_threshold,
    excerpt,
    over_places,
    rows_of,
    window_labels,
    windows_of,
)
from .scored import Scored

_MOST_CHARACTERS = 1 << 16  # of a context that are looked at, so that memory stays bounded


@dataclass(frozen=True)
class Answer:
    """A part `text` of a context, `context[start:end]`; "" at 0 to 0: no answer."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class ReadingAnswer:
    """A reader's answer: `answer` is `context[start:end]`, "" at 0 to 0 if there is none; `n_best`: the likeliest.

    A probability is that among all spans of the context, and "no answer" if it is given at all: of the softmax of
    their scores. truncated: was a part of the context or of the question left out?
    """

    answer: str
    start: int
    end: int
    probability: float
    n_best: list[Answer] = field(default_factory=list)
    truncated: bool = False


class Reading(Kind):
    """Extractive reading comprehension.

    A row's outputs hold, for each of its windows, a line for the first token ([CLS], "no answer") and one for each
    token of the context: the logits of start and end, and the characters of the context that the token covers, from
    and to (-1 and the window's number for the first token). So they can be decoded and compared by themselves.
    """

    name = "reading"
    description = "the part of a context (second text) that answers a question"
    Settings = ReadingSettings
    own_metrics = READING_METRICS
    head = "ForTokenClassification"  # PaddleNLP's ...ForQuestionAnswering has the same weights
    by_token = True
    needs_pair = True
    has_labels = False
    outputs = ("start", "end")
    graphs = ("plain",)
    unread = ("pooler",)
    long_texts = ("windows",)
    augmenter = ""
    pipeline_tag = "question-answering"
    unit_name = "questions"
    shown_metrics = ("answer_f1", "exact_match")
    no_label = {"answers": None}
    no_soft = "a distribution over the tokens of a context is nothing that a file holds"
    no_probe = "a linear model on the state of one token at a time cannot read"
    usual_columns = {
        "text": ("question", "query", "问题"),
        "text_b": ("context", "passage", "paragraph", "document", "原文"),
        "label": ("answers", "answer", "答案"),
    }
    hard_symbol = "CE(start and end, student) over context tokens"
    soft_symbols = {
        "cross_entropy": "T^2 CE(teacher, student{temperature}) over context tokens",
        "kl": "T^2 KL(teacher || student{temperature}) over context tokens",
        "mse": "MSE(teacher, student) over context tokens",
    }
    answer_fields = {"answer": str, "start": int, "end": int, "probability": float, "n_best": list[Answer]}
    example_answer = '{"answer": ..., "start": ..., "end": ..., "probability": ..., "n_best": [...]}'

    # --- rows ------------------------------------------------------------------------------------------------------

    def check_length(self, max_length):
        if (self.settings.stride or 0) * 2 > max_length:
            raise ValueError(f"stride {self.settings.stride} is more than half of max_length_tokens, {max_length}")

    def parse_label(self, name, labels):
        """Nothing: what a file of rows to predict says of answers is passed over."""
        return 0

    def read(self, files, table, labels, require_label=True, problems=None, soft=None):
        from ..data.questions import read_questions

        return read_questions(files, table, require_label, problems)

    def read_dataset(self, name, split, table, subset, problems=None):
        from ..data.questions import read_paddlenlp_questions

        return read_paddlenlp_questions(name, split, table, subset, problems), list(self.outputs)

    def tokenize(self, tokenizer, texts, texts_b, max_length, long_text="windows"):
        """`[CLS] question [SEP] a part of the context [SEP]`: the windows of each row, and their places.

        places: int32 [1 + tokens, 3] of each window: where in it a token is, and what it covers of the context, as
        `Reading` says. A question has at most half of the room. Raises InputError where there is no room.
        """
        from ..data.text_tokenizer import Encoded
        from ..errors import InputError

        room = max_length - 2 - tokenizer.between
        if room < 2:
            raise InputError(f"max_length {max_length} leaves no room for text", remedy="give at least 8 tokens")
        known: dict[str, Any] = dict.fromkeys(text[:_MOST_CHARACTERS] for text in texts_b)
        known = dict(zip(known, tokenizer.encode_with_offsets(list(known))))  # noqa: B905 (Python 3.9)
        input_ids, types, places, cut, rows = [], [], [], [], []
        asked = tokenizer.encode_plain([text[:_MOST_CHARACTERS] for text in texts])
        for row, (question, text) in enumerate(zip(asked, texts_b)):  # noqa: B905
            context, kept = known[text[:_MOST_CHARACTERS]], question[: max(1, room // 2)]
            begin = [tokenizer.cls_id, *kept, *[tokenizer.sep_id] * tokenizer.between]
            shown = [(first, last if text[first:last].strip() else first) for first, last in context.offsets]
            offsets = np.array(shown, dtype=np.int32).reshape(-1, 2)  # nothing of a token that is a blank
            for number, first in enumerate(self._firsts(len(offsets), room - len(kept))):
                part = slice(first, first + room - len(kept))
                ids = context.ids[part]
                input_ids.append([*begin, *ids, tokenizer.sep_id])
                types.append([0] * len(begin) + [tokenizer.segments - 1] * (len(ids) + 1))
                place = np.concatenate([np.arange(len(ids))[:, None] + len(begin), offsets[part]], axis=1)
                places.append(np.concatenate([[[0, -1, number]], place]).astype(np.int32))
                rows.append(row)
            cut.append(len(kept) < len(question) or len(text) > _MOST_CHARACTERS or len(texts[row]) > _MOST_CHARACTERS)
        numbers = np.array(rows) if len(rows) > len(cut) else None
        return Encoded(input_ids, types, cut, numbers), places

    def _firsts(self, count: int, room: int) -> list[int]:
        """The first tokens of the windows over so many; the last is full. Beside a long question less is shared."""
        shared = room // 4 if self.settings.stride is None else min(self.settings.stride, room * 3 // 4)
        firsts = [0]
        while firsts[-1] + room < count:
            firsts.append(min(firsts[-1] + room - shared, count - room))
        return firsts

    def rows(self, tokenizer, texts, texts_b, max_length, long_text, unit):
        found = super().rows(tokenizer, texts, texts_b, max_length, long_text, unit)
        return [replace(row, text=context) for row, context in zip(found, texts_b)]  # noqa: B905 (offsets are of it)

    def encode(self, tokenizer, examples, max_length, long_text="windows", beside=None):
        from ..data.rows import EncodedRows

        texts = [e.text for e in examples], [e.text_b for e in examples]
        encoded, places = self.tokenize(tokenizer, *texts, max_length, long_text)
        windows = [[len(ids), place] for ids, place in zip(encoded.input_ids, places)]  # noqa: B905 (Python 3.9)
        by_example = [[window] for window in windows] if encoded.rows is None else by_row(encoded.rows, windows, list)
        of_rows = zip(examples, by_example)  # noqa: B905
        labels = [label for example, own in of_rows for label in window_labels(own, example.label)]
        gold = [examples[row].label for row in (range(len(examples)) if encoded.rows is None else encoded.rows)]
        return EncodedRows(encoded.input_ids, encoded.token_type_ids, labels, gold, places, rows=encoded.rows)

    def whole_gold(self, parts):
        return parts[0]

    def findings(self, splits, labels):
        from ..data.questions import answer_findings

        return [finding for name, rows in splits.items() for finding in answer_findings(name, rows)]

    def token_findings(self, tokenizer, examples, max_length, where):
        from ..data.questions import window_findings

        rows = self.encode(tokenizer, examples, max_length)
        return window_findings(rows, self.settings.max_answer_tokens, where)

    # --- a model's output ------------------------------------------------------------------------------------------

    def answers(self, output, places):
        return np.concatenate([output[places[:, 0]], places[:, 1:].astype(output.dtype)], axis=1)

    def decode(self, row, answers, labels):
        """The likeliest answers among all spans of all windows; a span of several windows has its best score."""
        spans, scores, nothing = all_spans(answers, self.settings.max_answer_tokens)
        most, best = self.settings.null_threshold, scores.max(initial=-np.inf)
        none = not len(spans) or (most is not None and nothing - best > most)
        if not len(spans) or most is not None:  # else "no answer" is none of the answers
            spans, scores = np.concatenate([spans, [[0, 0]]]), np.append(scores, nothing)
        shares, count = softmax(scores), min(len(scores), self.settings.n_best + 1)
        order = np.sort(np.argpartition(-scores, count - 1)[:count])
        order = order[np.argsort(-scores[order], kind="stable")]
        if none:  # whatever its own score is
            order = np.append(len(spans) - 1, order[order != len(spans) - 1])

        def answer(place: int) -> Answer:
            start, end = map(int, spans[place])
            return Answer(row.text[start:end], start, end, float(shares[place]))

        # the best span, if "no answer" is above it by less than the threshold
        chosen = answer(order[1] if not none and spans[order[0], 1] == 0 else order[0])
        listed = [answer(place) for place in order[: self.settings.n_best]]
        return ReadingAnswer(chosen.text, chosen.start, chosen.end, chosen.probability, listed, row.truncated)

    def as_json(self, answer):
        n_best = [{**asdict(one), "probability": round(one.probability, 6)} for one in answer.n_best]
        own = {"answer": answer.answer, "start": answer.start, "end": answer.end}
        return {**own, "probability": round(answer.probability, 6), "n_best": n_best, **said_truncated(answer)}

    # --- learning and measuring ------------------------------------------------------------------------------------

    def labelled(self, labels):
        """Which windows have labels: bool [batch], of labels [batch, length] as `window_labels` makes them."""
        return (labels >= STARTS).any(axis=1)

    def label_weights(self, labels, class_weights):
        return self.labelled(labels).astype("float32")

    def hard_label(self, output, labels, class_weights=None):
        """Cross-entropy over the places where an answer may be, the mean of start and end, and of labelled windows.

        output [batch, length, 2], labels int64 [batch, length]: bits of start (1) and end (2), IGNORED elsewhere.
        """
        import paddle
        import paddle.nn.functional as F

        from ..terms.losses import mean_over

        logits = over_places(output, labels)
        found = paddle.stack([(labels == bit) | (labels == STARTS | ENDS) for bit in (STARTS, ENDS)], axis=1)
        losses = F.cross_entropy(logits, found.astype("int64").argmax(axis=-1), reduction="none", axis=-1)
        return mean_over(losses.reshape(logits.shape[:2]).mean(axis=1), self.label_weights(labels, class_weights))

    def soft_label(self, loss, student, teacher, temperature, labels, mask):
        """The distance of the distributions over places of start and of end, their mean, and that of the windows.

        Design: softmax over the tokens of the context and the first token, [CLS], alone; T^2 CE or KL (Hinton, arXiv
        1503.02531), or the mean squared error of the logits there.
        """
        from ..terms import losses

        if loss == "mse":
            places = (labels >= 0).astype("float32")
            error = (student.astype("float32") - teacher.astype("float32")).square().mean(axis=-1)
            return (error * places / places.sum(axis=1, keepdim=True)).sum(axis=1).mean()
        compare = losses.soft_kl if loss == "kl" else losses.soft_cross_entropy
        own, given = (over_places(logits, labels) for logits in (student, teacher))
        return compare(own.flatten(0, 1), given.flatten(0, 1), temperature)

    def floor(self, train, labels):
        return None  # n-grams do not read

    def scored(self, outputs, gold, labels, groups=None):
        return ReadScored(list(outputs), list(gold), labels, groups, self.settings)

    def fit(self, dev):
        """The threshold of "no answer" with the best F1 on dev, if that has unanswerable questions."""
        return {} if dev.targets.all() else {"null_threshold": best_threshold(dev)}

    def arrays(self, scored):
        """As usual, with the gold answers as JSON in UTF-8."""
        gold = json.dumps([[gold.context, gold.answers] for gold in scored.gold], ensure_ascii=False)
        kept = {"logits": scored.logits, "rows": scored.rows}
        return {**kept, "gold": np.frombuffer(gold.encode(), dtype=np.uint8)}

    def of_arrays(self, arrays, labels):
        outputs = np.split(arrays["logits"], np.flatnonzero(np.diff(arrays["rows"])) + 1)
        gold = json.loads(arrays["gold"].tobytes())
        return self.scored(outputs, [Gold(text, tuple(map(tuple, answers))) for text, answers in gold], labels)

    def compared(self, logits):
        """The outputs, and in a column beside them the model's own threshold of "no answer"; infinity: never."""
        most = self.settings.null_threshold
        return np.insert(logits, 4, np.inf if most is None else most, axis=1)

    def fidelity(self, own, teacher):
        """Agreement of answers, each by its own threshold; KL of start and end over a window's places, their mean."""
        pairs = zip(windows_of(own), windows_of(teacher))  # noqa: B905 (Python 3.9)
        kl = [fidelity(*(softmax(side[:, [START, END]].T) for side in pair))["kl"] for pair in pairs]
        return {"agreement": self.agreement(own, teacher), "kl": float(np.mean(kl)), "rows": len(rows_of(own))}

    def in_short(self, logits: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
        """Of a model's answers: how long they are, and for how many questions "no answer" is above the best span."""
        found = [best_span(output, self.settings.max_answer_tokens) for output in rows_of(logits)]
        lengths = [span[1] - span[0] for span, _ in found if span is not None]
        nothing = float(np.mean([above > 0 for _, above in found]))
        return {"mean length in characters": float(np.mean(lengths or [0])), "no answer": nothing}

    def agreement(self, own, other):
        """The share of rows with the same answer."""
        answers = ([self._answer(row) for row in rows_of(side)] for side in (own, other))
        return float(np.mean([one == another for one, another in zip(*answers)]))  # noqa: B905

    def _answer(self, output):
        span, above = best_span(output, self.settings.max_answer_tokens)
        most = output[0, -1] if output.shape[1] > 4 else self.settings.null_threshold
        return None if most is not None and above > most else span

    def breakdown(self, scored):
        """How often there is an answer, and should be; both scores, also of the answerable questions alone."""
        given = np.array([span is not None for span in scored.spans], dtype=np.int64)
        found = by_label(Scored.of(np.eye(2)[given], scored.targets, ["no answer", "answer"]))
        parts = {"": scored}
        if scored.targets.all():
            found |= {"labels": found["labels"][1:], "confusion": None}
        elif scored.targets.any():
            parts["answerable, "] = scored.take(scored.targets == 1)
        values = [row for name, part in parts.items() for row in of_metrics(part, self.shown_metrics, name)]
        nothing = "no answer" if not given.any() else None
        return {**found, "one_answer": nothing, "scores": values}

    def error_of(self, output, gold):
        """1 - F1 of the answer, times the probability that the model gives it."""
        wrong = self.scored([output], [gold], self.outputs)
        return (1 - float(wrong.values[0, 1])) * self.decode(Row(gold.context, []), output, self.outputs).probability

    def texts_of(self, example):
        return [example.text, excerpt(example.text_b, example.label)]

    def named(self, output, gold, labels):
        answer = self.decode(Row(gold.context, []), output, labels).answer
        return answer or "no answer", " / ".join(dict.fromkeys(gold.texts)) or "no answer"
