"""How much faster is augmentation over many rows than over one sentence at a time?

    python benchmarks/augmentation.py --model FOLDER --data FILE.tsv --rows 150 --json OUT.json

The work is the prediction of replacements for the words of `--rows` rows, with one masked LM in one process:

batched      as the toolkit does it: the masked texts of 64 rows, sorted by length, 64 a forward, with logits at the
             masked places only.
one_by_one   as TinyBERT's script does it: one masked word of one sentence a forward, with logits at every place and
             the whole vocabulary sorted at the masked ones. (TinyBERT's script puts the unmasked sentence behind the
             masked one, which makes it slower still; that is left out here, so that both do the same work.)
places_only  the toolkit's code with one row a forward: one sentence at a time, but logits only where they are needed.

Both of the latter are timed on every `--every`-th word of the same 64 rows, and all three take turns, so that other
load on the machine meets all of them. Rates are words a second; ratios are of rates. `agreement` is the share of
compared words for which one_by_one and batched find the same candidates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

from paddle_ernie_tiny.runtime import cpu_cores, import_paddle, tune_process

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
    parser.add_argument("--every", type=int, default=10, help="words a timed one (default: %(default)s)")
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
    """Rates in words a second, their ratios, and what they were measured with."""
    from paddle_ernie_tiny.augmentation.predict import Predictor
    from paddle_ernie_tiny.augmentation.units import analyse
    from paddle_ernie_tiny.data.readers import TableFormat, infer_labels, read_examples
    from paddle_ernie_tiny.models.build import load_masked_lm, load_tokenizer

    table = TableFormat(header=True, text=args.text, text_b=None, label=args.label)
    examples = read_examples(args.data, table, infer_labels(args.data, table))[: args.rows]
    model, tokenizer = load_masked_lm(args.model), load_tokenizer(args.model)
    batched = Predictor(model, tokenizer, args.candidates, ROWS_PER_BATCH)
    single = Predictor(model, tokenizer, args.candidates, 1)
    ways = {
        "batched": batched,
        "one_by_one": lambda wanted: one_by_one(batched, wanted),
        "places_only": single,
    }
    seconds, words = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    same = tokens = 0
    for start in range(0, len(examples), BLOCK_ROWS):
        texts = analyse([e.text for e in examples[start : start + BLOCK_ROWS]], tokenizer, args.language)
        wanted = [(text, word) for text in texts for word in text.words if word.predictable]
        sample = wanted[:: args.every]
        tokens += sum(min(len(text.ids) + 2, batched.context) for text, _ in wanted)
        if start == 0:
            for way in ways.values():
                way(sample[:8])
        found = {}
        for name, way in ways.items():
            work = wanted if name == "batched" else sample
            began = time.perf_counter()
            found[name] = way(work)
            seconds[name] += time.perf_counter() - began
            words[name] += len(work)
        same += sum(a == b for a, b in zip(found["batched"][:: args.every], found["one_by_one"], strict=True))
        print(f"{start + len(texts)} rows, { ({n: round(words[n] / seconds[n], 1) for n in ways}) }", flush=True)
    rates = {name: words[name] / seconds[name] for name in ways}
    return {
        "words": words,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "words_per_second": {name: round(value, 2) for name, value in rates.items()},
        "times_as_fast_as_one_by_one": round(rates["batched"] / rates["one_by_one"], 2),
        "times_as_fast_as_places_only": round(rates["batched"] / rates["places_only"], 2),
        "agreement": round(same / words["one_by_one"], 4),
        "mean_tokens_per_forward_row": round(tokens / words["batched"], 1),
        "settings": {
            "model": args.model.name,
            "data": args.data.name,
            "rows": len(examples),
            "rows_per_batch": ROWS_PER_BATCH,
            "candidates": args.candidates,
        },
        "machine": machine(),
    }


def one_by_one(predictor, wanted) -> list[list[str]]:
    """One forward a word, in the order of the text, through the model's own call."""
    import paddle

    from paddle_ernie_tiny.augmentation.predict import place_kind

    found = []
    with paddle.no_grad():
        for text, word in wanted:
            ids, first = predictor.masked(text, word)
            logits = predictor.model(paddle.to_tensor([ids]))[0]
            places = []
            for index in range(word.last - word.first):
                allowed = predictor.allowed[place_kind(word.kind, index)]
                order = paddle.argsort(logits[first + index] + allowed, descending=True)
                best = order[: predictor.candidates + 1].numpy()
                scores = logits[first + index].numpy()[best].tolist()
                places.append([(predictor.tokens[i].removeprefix("##"), s) for i, s in zip(best, scores, strict=True)])
            found.append(predictor.words(text.text[word.start : word.end], word.kind, places))
    return found


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
