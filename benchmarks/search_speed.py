"""Is the speed of shapes predicted well? Shapes that the regression has not seen are predicted, and measured.

    python benchmarks/search_speed.py OUT --engine paddle,onnxruntime,openvino --length 128 --threads 1

The space: 1 to 6 layers, 96 to 384 wide, FFN 2 and 4 times as wide. Of each precision some shapes are measured for the
regression (`--fitted`) and others to check it (`--held-out`), as `ernie-tiny search` does it. OUT/result.json holds the
figures of each engine; what was measured is kept in OUT, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from paddle_ernie_tiny.benchmark.subjects import Shape, parse_shape
from paddle_ernie_tiny.budget_search.measure_shapes import measure_space
from paddle_ernie_tiny.budget_search.shape_speed import Effort, Setting, ShapeSpeeds
from paddle_ernie_tiny.engines import ON_CPU
from paddle_ernie_tiny.files import write_json

LAYERS, WIDTHS, FFN = range(1, 7), (96, 128, 192, 256, 312, 384), (2, 4)


def main() -> None:
    """Parses the arguments, measures, prints each check, writes OUT/result.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--engine", default=",".join(ON_CPU))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--length", default="128", help="tokens; several are quantiles, figures are means over them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--fitted", type=int, default=14)
    parser.add_argument("--held-out", type=int, default=10)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Effort().cache)
    given = parser.parse_args()
    effort = Effort(given.fitted, given.held_out, given.passes, given.seconds, given.rounds, given.cache)
    lengths = tuple(map(int, given.length.split(",")))
    shapes = [(shape, precision) for shape, precision in product(space(), given.precision.split(","))]
    results = {}
    for engine in given.engine.split(","):
        setting = Setting(given.batch, lengths, given.threads, engine)
        speeds = measure_space(shapes, setting, given.out / engine, print, effort)
        results[engine] = speeds.record()
        write_json(given.out / "result.json", results)
        show(engine, speeds)


def space() -> list[Shape]:
    """All shapes, with as many heads as a shape's name stands for."""
    names = (f"{layers}l-{width}h-{times * width}ffn" for layers, width, times in product(LAYERS, WIDTHS, FFN))
    return [parse_shape(name) for name in names]


def show(engine: str, speeds: ShapeSpeeds) -> None:
    """Prints every prediction beside what was measured."""
    check = speeds.check
    print(f"{engine}: {check.right} of {len(check.held_out)} held-out shapes within 15 %")
    for one in check.held_out:
        print(
            f"  {one.model} {one.precision}: predicted {one.predicted_ms:.2f} ms, measured {one.measured_ms:.2f} ms, "
            f"{one.error:+.1%}"
        )


if __name__ == "__main__":
    main()
