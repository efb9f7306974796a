"""Ask an exported student from Python. It needs only the bundle, not PaddleNLP.

python examples/predict_api.py runs/demo/bundle "房间很宽敞，不过隔音太差" "早餐丰富"
"""

import sys

import paddle_ernie_tiny as et

bundle, texts = sys.argv[1], sys.argv[2:]
for text, answer in zip(texts, et.Predictor(bundle).predict(texts), strict=True):
    print(f"{answer.label} {answer.probability:.3f}  {text}")
