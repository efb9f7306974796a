"""ERNIE-Tiny: four-stage distillation of BERT and ERNIE models (arXiv 2106.02241), on PaddlePaddle."""

__version__ = "0.1.0"
