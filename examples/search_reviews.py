"""The best student for reviews under 2 ms on one thread, found from Python. From the checkout's root:

python examples/search_reviews.py [key.sub=value ...]

The search's file is configs/search-reviews.yaml; the same call again continues where it stopped.
"""

import json
import sys

import paddle_ernie_tiny as et

report = et.search("configs/search-reviews.yaml", sys.argv[1:], budget=["latency_ms<=2"])
results = json.loads(report.with_name("results.json").read_text(encoding="utf-8"))

for student in results["candidates"]:
    if student["final"] is not None:
        latency, score = student["measured"]["latency_ms"], student["final"]["score"]
        print(f"{student['name']}: {latency:.2f} ms, {score:.4f}, {student['out'] or 'within the budget'}")

winner = next(student for student in results["candidates"] if student["name"] == results["winner"])
predictor = et.Predictor(report.parent / winner["final"]["bundle"], threads=1)
for answer in predictor.predict(["房间很宽敞，不过隔音太差", "早餐丰富"]):
    print(answer.label, round(answer.probability, 3))
