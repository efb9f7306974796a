"""Ask an exported student from Python; needs the bundle alone, not PaddleNLP.

python examples/predict_api.py runs/demo/bundle "房间很宽敞，不过隔音太差" "早餐丰富"
"""

import sys

from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.runtime import tune_process

tune_process()
bundle, texts = sys.argv[1], sys.argv[2:]
for text, answer in zip(texts, Predictor(bundle).predict(texts), strict=True):
    print(f"{answer.label} {answer.probability:.3f}  {text}")
