"""How much faster is augmentation over many rows than over one sentence at a time?

    python benchmarks/augmentation.py --model FOLDER --data FILE.tsv --rows 150 --json OUT.json

The work is the prediction of replacements for the words of `--rows` rows, with one masked LM in one process:

batched      as the toolkit does it: the masked texts of 64 rows, sorted by length, 64 a forward, several words of a
             text masked at once (8 tokens or more apart); of each text the 64 tokens around; logits at the masked
             places only, of which the best few are picked.
tinybert     as TinyBERT's script does it: one masked word of one sentence a forward, the masked sentence followed by
             the unmasked one, whole; logits at every place; the whole vocabulary sorted at the masked ones.
one_by_one   the same without the unmasked sentence.
places_only  the toolkit's own code with one masked word of one sentence a forward.
one_word_a_row  the toolkit's own code in batches, with one masked word in each row.

The others are timed on every `--single-every`-th word and `batched` on every `--batched-every`-th of the same 64
rows; all take turns, so that other load on the machine meets all of them. Rates are words per second, ratios are of
rates. `shared_candidates` is the mean share of a word's candidates in `batched` that another way finds as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_ernie_tiny.machine import cpu_cores, import_paddle, tune_process

if TYPE_CHECKING:
    from paddle_ernie_tiny.augmentation.candidates import Word

ROWS_PER_BATCH, BLOCK_ROWS = 64, 64


def main() -> None:
    """Parses the arguments, measures, prints, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="PaddleNLP folder of a masked LM")
    parser.add_argument("--data", type=Path, required=True, help="labelled rows with a header")
    parser.add_argument("--text", default="text_a", help="its column of texts (default: %(default)s)")
    parser.add_argument("--label", default="label", help="its column of labels (default: %(default)s)")
    parser.add_argument("--language", choices=("zh", "en"), default="zh")
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--batched-every", type=int, default=4, help="words a timed one (default: %(default)s)")
    parser.add_argument("--single-every", type=int, default=40, help="a multiple of it (default: %(default)s)")
    parser.add_argument("--candidates", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    tune_process()
    import_paddle()
    result = measure(args)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(args: argparse.Namespace) -> dict:
    """Rates in words per second, their ratios, and what they were measured with."""
    from paddle_ernie_tiny.augmentation.candidates import WordPredictor, analyse
    from paddle_ernie_tiny.data.tables import TableFormat
    from paddle_ernie_tiny.kinds import KINDS
    from paddle_ernie_tiny.models.build import load_masked_lm, load_tokenizer

    table = TableFormat(header=True, text=args.text, text_b=None, label=args.label)
    kind = KINDS["classification"]
    examples = kind.read(args.data, table, kind.infer_labels(args.data, table))[: args.rows]
    model, tokenizer = load_masked_lm(args.model), load_tokenizer(args.model)
    batched = WordPredictor(model, tokenizer, args.candidates, ROWS_PER_BATCH)
    single = WordPredictor(model, tokenizer, args.candidates, 1, tokens_between=1 << 20)
    one_word = WordPredictor(model, tokenizer, args.candidates, ROWS_PER_BATCH, tokens_between=1 << 20)
    ways: dict[str, Callable[[list[Word]], list[list[str]]]] = {
        "batched": batched,
        "tinybert": lambda wanted: one_by_one(batched, wanted, repeat=True),
        "one_by_one": lambda wanted: one_by_one(batched, wanted, repeat=False),
        "places_only": single,
        "one_word_a_row": one_word,
    }
    seconds, words, same = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0)
    step = args.single_every // args.batched_every
    for start in range(0, len(examples), BLOCK_ROWS):
        sentences: list[Any] = [e.text for e in examples[start : start + BLOCK_ROWS]]
        texts = analyse(sentences, tokenizer, args.language)
        wanted = [word for text in texts for word in text.words if word.pieces][:: args.batched_every]
        if start == 0:
            for way in ways.values():
                way(wanted[::step][:8])
        for name, way in ways.items():
            work = wanted if name == "batched" else wanted[::step]
            began = time.perf_counter()
            found = way(work)
            seconds[name] += time.perf_counter() - began
            words[name] += len(work)
            if name == "batched":
                expected = found
            else:
                same[name] += sum(map(overlap, expected[::step], found))
        print(f"{start + len(texts)} rows, { ({n: round(words[n] / seconds[n], 1) for n in ways}) }", flush=True)
    rates = {name: words[name] / seconds[name] for name in ways}
    others = [name for name in ways if name != "batched"]
    return {
        "words": words,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "words_per_second": {name: round(value, 2) for name, value in rates.items()},
        "batched_times_as_fast_as": {name: round(rates["batched"] / rates[name], 2) for name in others},
        "shared_candidates": {name: round(same[name] / words[name], 4) for name in others},
        "settings": {
            "model": args.model.name,
            "data": args.data.name,
            "rows": len(examples),
            "rows_per_batch": ROWS_PER_BATCH,
            "context_tokens": batched.context,
            "candidates": args.candidates,
        },
        "machine": machine(),
    }


def one_by_one(predictor, wanted, repeat: bool) -> list[list[str]]:
    """One forward pass per word, in the order of the text, through the model's own call."""
    import paddle

    from paddle_ernie_tiny.augmentation.candidates import place_row

    tokenizer, longest = predictor.tokenizer, predictor.model.config.max_position_embeddings
    found = []
    with paddle.no_grad():
        for word in wanted:
            masked = [*word.ids[: word.first], *[tokenizer.mask_id] * word.pieces, *word.ids[word.last :]]
            ids = [tokenizer.cls_id, *masked, tokenizer.sep_id]
            types = [0] * len(ids)
            if repeat:
                ids += [*word.ids, tokenizer.sep_id]
                types += [1] * (len(ids) - len(types))
            logits = predictor.model(paddle.to_tensor([ids[:longest]]), paddle.to_tensor([types[:longest]]))[0]
            places = []
            for index in range(word.pieces):
                place = (
                    logits[min(1 + word.first + index, longest - 1)] + predictor.allowed[place_row(word.script, index)]
                )
                best = paddle.argsort(place, descending=True)[: predictor.candidates + 1].numpy()
                scores = place.numpy()[best].tolist()
                places.append([(predictor.tokens[i].removeprefix("##"), s) for i, s in zip(best, scores, strict=True)])
            found.append(predictor.words(word, places))
    return found


def overlap(expected: list[str], found: list[str]) -> float:
    """Share of `expected` that is in `found`; 1 where nothing was expected."""
    return len(set(expected) & set(found)) / len(expected) if expected else 1.0


def machine() -> dict:
    """Versions, processor and threads."""
    import paddle
    import paddlenlp

    return {
        "python": platform.python_version(),
        "paddle": paddle.__version__,
        "paddlenlp": paddlenlp.__version__,
        "processor": platform.machine(),
        "cores": cpu_cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


if __name__ == "__main__":
    main()
