"""What transformers answers of a model folder. Stands alone: it is run by an interpreter that has torch.

Arguments: the model folder; a JSON file of rows, each a list of one or two texts; the .npz file to write. It gets each
row's token ids ("0.ids") and outputs ("0.output", float32 [answers, width]) by its number, and "about": JSON with the
versions and the names of weights that were missing or left over.
"""

from __future__ import annotations

import json
import os
import sys

CANNOT_IMPORT = 3  # exit code
_ROWS = 16  # per forward pass


def main(folder: str, rows_file: str, answers_file: str) -> None:
    """Loads the folder as anyone would, answers the rows, writes the file."""
    try:
        import numpy
        import torch
        import transformers
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(CANNOT_IMPORT)

    with open(rows_file, encoding="utf-8") as stream:
        rows = json.load(stream)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as stream:
        name = json.load(stream)["architectures"][0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, loading = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    model.eval()
    answers = {}
    order = sorted(range(len(rows)), key=lambda row: sum(map(len, rows[row])))
    for columns in (1, 2):
        chosen = [row for row in order if len(rows[row]) == columns]
        for start in range(0, len(chosen), _ROWS):
            batch = chosen[start : start + _ROWS]
            texts = [[rows[row][column] for row in batch] for column in range(columns)]
            inputs = tokenizer(*texts, truncation=True, padding=True, return_tensors="pt")
            with torch.no_grad():
                given = model(**inputs)
            outputs = given.logits if hasattr(given, "logits") else given.get("last_hidden_state")
            if outputs is None:  # of a reader
                outputs = torch.stack([given.start_logits, given.end_logits], dim=-1)
            for place, row in enumerate(batch):
                real = inputs["attention_mask"][place].bool()
                output = outputs[place][real] if outputs.ndim == 3 else outputs[place][None]
                answers[f"{row}.ids"] = inputs["input_ids"][place][real].numpy()
                answers[f"{row}.output"] = output.float().numpy()
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    about.update({key: sorted(map(str, loading[key])) for key in ("missing_keys", "unexpected_keys")})
    numpy.savez(answers_file, about=json.dumps(about), **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
