"""Package metadata. `make lock` writes requirements.lock from these bounds; each says why it is there."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
README = ROOT / "README.md"
PACKAGE = (ROOT / "paddle_ernie_tiny" / "__init__.py").read_text(encoding="utf-8")

# What prediction and the HTTP server import, beside an engine: no PaddleNLP, no training code.
SERVING = [
    "fastapi>=0.115",
    "jinja2",  # the model card of a bundle that `quantize` or `onnx` makes
    "numpy>=1.24",
    "prometheus-client>=0.21",
    "psutil",
    "pydantic>=2,<3",
    "pyyaml",
    "rich",
    "tokenizers",
    "typer",
    "uvicorn>=0.34,<1",  # its server class is subclassed
]
SCORING = ["scikit-learn", "scipy", "seqeval"]  # metrics and intervals: nearly as large as SERVING and an engine
TRAINING = [
    "paddlenlp==2.8.1",  # the last stable release; 3.0 is a pre-release with many more dependencies
    "jieba",
    "matplotlib",
    "openpyxl",  # reads xlsx
    "safetensors",
    "tqdm",
    "visualdl>=2.5.3",
]
# Not imported here: bounds on what PaddleNLP and VisualDL bring, which state none themselves.
BOUNDS = [
    "aiohttp<3.12",  # newest known to work with datasets 2.21
    "datasets>=2.21,<3",  # PaddleNLP 2.8.1 reads data sets through what datasets 3 removed
    "aistudio-sdk<0.3",  # PaddleNLP 2.8.1 imports what 0.3 removed
    "numpy<2",  # PaddleNLP 2.8.1 and datasets 2.21 use names that NumPy 2 removed
    "huggingface_hub<0.26",  # PaddleNLP 2.8.1 imports a name that 0.26 removed
    "paddle2onnx>=2.1",  # 2.0 does not convert what Paddle 3.x writes
    "pandas<3",  # datasets 2.21 and VisualDL 2.5 were written for pandas 2
    "protobuf>=4.25,<7",  # 7 breaks VisualDL's hparams; 3.20 has no binary build for Python 3.11 and 3.12
    "pyarrow<18",  # 18 wants NumPy 2; parquet and `datasets` folders are read with it
    "setuptools<81",  # jieba and VisualDL import pkg_resources, which leaves setuptools; 3.12 brings none
]

setup(
    name="paddle-ernie-tiny",
    version=re.search(r'__version__ = "(.+?)"', PACKAGE).group(1),
    description="Four-stage distillation of BERT and ERNIE models (ERNIE-Tiny, arXiv 2106.02241)",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",  # paddlepaddle 3.1 and pyarrow 17 have wheels for these
    packages=find_packages(include=["paddle_ernie_tiny", "paddle_ernie_tiny.*"]),
    package_data={
        "paddle_ernie_tiny": [
            "py.typed",
            "*.pyi",
            "**/*.j2",
            "**/*.yaml",
            "deploy/server/page/*",
            "paddle_serving/*.textproto",
            "paddle_serving/folder/*",
        ]
    },
    install_requires=SERVING,
    # Paddle is an extra, so that the CPU build and the GPU build satisfy the toolkit alike.
    # 3.1 is the newest that still writes the .pdmodel that Paddle Serving and CPU int8 need.
    extras_require={
        "cpu": ["paddlepaddle>=3.1,<3.2"] + SCORING + TRAINING + BOUNDS,
        # Paddle's GPU builds of 3.x are in its own package index, not on PyPI: install one first
        "gpu": ["paddlepaddle-gpu>=3.1,<3.2"] + SCORING + TRAINING + BOUNDS,
        "serving": ["paddlepaddle>=3.1,<3.2"] + SCORING,
        # predict and serve without Paddle; NumPy 2 is allowed
        "serving-onnx": ["onnxruntime>=1.20"],
        "serving-openvino": ["openvino>=2025.0"],
        "evaluate": SCORING,
        # other engines: `ernie-tiny onnx` checks its parity there, `ernie-tiny bench` compares with them
        # onnx: writes int8 into model.onnx; paddle2onnx brings it, but not where a bundle has model.onnx already
        "onnx": ["onnx>=1.16", "onnxruntime>=1.20", "paddle2onnx>=2.1"],
        "bench": ["onnx>=1.16", "onnxruntime>=1.20", "openvino>=2025.0", "paddle2onnx>=2.1"],
        "dev": [
            "hypothesis",
            "httpx",
            "jsonschema-rs",
            "mypy",
            "onnx>=1.16",
            "onnxruntime>=1.20",
            "openvino>=2025.0",
            "pre-commit",
            "pytest",
            "pytest-xdist>=3.6",  # two workers: half the time of `make test`
            "ruff",
            "schemathesis>=4",
            "types-PyYAML",
            "types-psutil",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["ernie-tiny = paddle_ernie_tiny.cli:main"]},
)
