"""The speed of shapes: a known formula is found again, nothing is measured twice, tables of other machines are read."""

import json
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest

from paddle_ernie_tiny.benchmark.subjects import Shape, parameters, parse_shape
from paddle_ernie_tiny.budget_search import measure_shapes
from paddle_ernie_tiny.budget_search.measure_shapes import FILE, design, measure_more, measure_space, read_device_table
from paddle_ernie_tiny.budget_search.shape_speed import FITTED, HELD_OUT, Effort, Figures, MeasuredShape, Pass, Setting
from paddle_ernie_tiny.budget_search.speed_fit import choose, fit, shape_name, sizes, work
from paddle_ernie_tiny.errors import ErnieTinyError, InputError

SETTING = Setting(lengths=(64, 128), engine="paddle")
EFFORT = Effort(fitted=14, held_out=5, passes=1)
SPACE = [Shape(layers, 24 * n, 6, times * 24 * n) for layers, n, times in product(range(1, 7), range(4, 10), (2, 4))]


def true_ms(name, precision, length):
    """A call 0.2 ms, each layer but the last 0.05 ms and 1e-6 ms by token x width x (width + FFN); int8 half of it."""
    shape = parse_shape(name)
    h, full = shape.hidden_size, shape.num_hidden_layers - 1
    ms = 0.2 + full * (0.05 + 1e-6 * length * h * (h + shape.intermediate_size))
    return ms * (0.5 if precision == "int8" else 1.0)


class Machine:
    """In place of the benchmark: answers by the formula, counts, and can be slow, or be killed before a call.

    odd: all shapes but the reference take so many times as long.
    """

    def __init__(self, slow=(), dies_before=None, odd=1.0, engines=None):
        self.slow, self.dies_before, self.odd = slow, dies_before, odd
        self.engines = engines or {"paddle": 1.0}
        self.calls = []

    def __call__(self, models, setting, engines, effort, say):
        if len(self.calls) == self.dies_before:
            raise KeyboardInterrupt
        times = 1.5 if len(self.calls) in self.slow else 1.0
        self.calls.append(models)
        return {"environment": {"cpu": "made up"}, "records": list(self.records(models, setting, engines, times))}

    def records(self, models, setting, engines, times):
        for engine, length, model in product(engines, setting.lengths, models):
            name, precision = model.split("@")
            if engine not in self.engines:
                continue
            speed = times * self.engines[engine]
            ms = speed * true_ms(name, precision, length) * (self.odd if model != models[0] else 1.0)
            yield {
                **{"model": name, "precision": precision, "length": length, "engine": engine, "graph": "served"},
                **{"batch": 1, "threads": 1, "device": "cpu", "random_weights": True},
                "latency_ms": {"p50": ms},
                "rounds_ms": [[0.9 * ms], [ms, 50 * ms, ms], [1.1 * ms]],
                "file_mb": 4e-6 * parameters(parse_shape(name)) + 0.01,
                "rss_mb": 8e-6 * parameters(parse_shape(name)) + 100,
            }


@pytest.fixture
def machine(monkeypatch):
    def replaced(**how):
        made = Machine(**how)
        monkeypatch.setattr(measure_shapes, "run_bench", made)
        return made

    return replaced


def in_both(shapes=SPACE):
    return [(shape, precision) for precision in ("fp32", "int8") for shape in shapes]


def mean_ms(shape, precision="fp32"):
    return np.mean([true_ms(shape_name(shape), precision, length) for length in SETTING.lengths])


def test_work_by_hand():
    # two of three layers for all tokens; 2 rows of 10 or of 20 tokens: 30 tokens, 2 * (100 + 400) / 2 = 500 pairs
    found = work(Shape(3, 4, 2, 6), 2, (10, 20))
    full = [1, 30 * 4, 30 * 6, 30 * 16, 30 * 24, 500 * 4, 500 * 2]
    assert found.tolist() == [1, 30 * 4, *(2 * piece for piece in full), 1, 30 * 4 * 2, 2 * 4 * (4 + 6)]
    assert work(Shape(0, 4, 2, 6), 1, (10,)).tolist() == [1, 40] + [0] * 10
    plain = work(Shape(3, 4, 2, 6), 2, (10, 20), "plain")  # of a tagger: all three layers for all tokens
    assert plain.tolist() == [1, 30 * 4, *(3 * piece for piece in full), 0, 0, 0]
    # (10 + 512 + 2) * 4 = 2096 weights of embeddings; in all 2442, as in the benchmark's own test
    assert sizes(Shape(2, 4, 2, 6, vocab_size=10)).tolist() == [1, 2096, 2, 346]


def test_costs_are_found_again_and_none_is_negative():
    pieces = np.array([[1, 2, 0], [1, 0, 5], [1, 3, 1], [1, 7, 2]], float)
    assert fit(pieces, pieces @ [3.0, 0.5, 2.0]) == pytest.approx([3.0, 0.5, 2.0])
    # exact would be 3 and -1; the one cost whose relative errors are least is (1/3 + 1/2) / (1/9 + 1/4) = 30 / 13
    assert fit(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([3.0, 2.0])) == pytest.approx([30 / 13, 0])


def test_shapes_are_chosen_in_the_corners_first_and_alike_every_time():
    chosen = choose(SPACE, 1, (128,), 14)
    assert chosen == choose(SPACE, 1, (128,), 14) and len(set(chosen)) == 14
    extremes = {(s.num_hidden_layers, s.hidden_size) for s in chosen[:4]}
    assert extremes <= set(product((1, 6), (96, 216)))
    assert choose(SPACE[:3], 1, (128,), 14) == SPACE[:3]


def test_a_taggers_shapes_are_measured_as_they_are_exported(monkeypatch):
    asked = []
    monkeypatch.setattr(measure_shapes, "bench", lambda request, say: asked.append(request.models))
    for graph in ("served", "plain"):
        measure_shapes.run_bench(["1l-96h@int8"], replace(SETTING, graph=graph), ["paddle"], EFFORT, print)
    assert asked == [["1l-96h@int8"], ["1l-96h@int8@plain"]]


def test_a_small_space_is_measured_as_a_whole():
    roles = design(in_both(SPACE[:19]), SETTING, EFFORT)
    assert len(roles) == 38 and set(roles.values()) == {FITTED}
    roles = design(in_both(SPACE[:20]), SETTING, EFFORT)
    assert [list(roles.values()).count(role) for role in (FITTED, HELD_OUT)] == [28, 10]
    assert list(roles)[0][1] == "fp32" and list(roles)[1][1] == "int8", "precisions take turns"


def test_the_formula_is_found_again(tmp_path, machine):
    machine()
    speeds = measure_space(in_both(), SETTING, tmp_path, print, EFFORT)
    for shape, precision in in_both():
        found = speeds.figures(shape, precision)
        assert found.latency_ms == pytest.approx(mean_ms(shape, precision), rel=1e-3)
        assert found.files_mb == pytest.approx(4e-6 * parameters(shape) + 0.01, rel=1e-3)
        assert found.rss_mb == pytest.approx(8e-6 * parameters(shape) + 100, rel=1e-3)
    assert sum(speeds.figures(*each).measured for each in in_both()) == 38
    assert (len(speeds.check.held_out), speeds.check.right, speeds.check.one_by_one) == (10, 10, False)
    measured = next(each for each in speeds.shapes.values() if each.precision == "fp32")
    ms = mean_ms(parse_shape(measured.model))
    found = speeds.figures(parse_shape(measured.model), "fp32")
    assert (found.low, found.high) == pytest.approx((0.9 * ms, 1.1 * ms))
    record = json.loads(json.dumps(speeds.record()))
    assert record["check"]["right"] == record["check"]["of"] == 10 and len(record["shapes"]) == 38
    assert record["setting"]["engine"] == "paddle"


def test_the_check_counts_what_is_within_15_percent(tmp_path, machine):
    machine()
    speeds = measure_space(in_both(), SETTING, tmp_path, print, EFFORT)
    held_out = [key for key, each in speeds.shapes.items() if each.role == HELD_OUT]
    shapes = dict(speeds.shapes)
    for key, times in zip(held_out, (1.3, 0.8, 1.1), strict=False):  # as if these had taken so many times as long
        one = shapes[key]
        turns_ms = [[times * ms for ms in own] for own in one.passes[0].turns_ms]
        shapes[key] = replace(one, passes=[replace(one.passes[0], turns_ms=turns_ms)])
    check = replace(speeds, shapes=shapes).check
    assert check.right == 8
    errors = {(one.model, one.precision): one.error for one in check.held_out}
    assert [errors[key] for key in held_out[:3]] == pytest.approx([1 / 1.3 - 1, 1 / 0.8 - 1, 1 / 1.1 - 1], abs=1e-3)
    # a prediction says how wrong the worst one of its precision was
    unseen = next(s for s in SPACE if (shape_name(s), "fp32") not in shapes)
    worst = check.worst("fp32")
    found = replace(speeds, shapes=shapes).figures(unseen, "fp32")
    assert (found.low, found.high) == pytest.approx((found.latency_ms * (1 - worst), found.latency_ms * (1 + worst)))


def test_nothing_is_measured_twice_and_what_was_measured_before_a_kill_stays(tmp_path, machine):
    whole = machine()
    expected = measure_space(in_both(), SETTING, tmp_path / "whole", print, EFFORT).record()
    assert sum(len(call) - 1 for call in whole.calls) == 38

    first = machine(dies_before=3)
    with pytest.raises(KeyboardInterrupt):
        measure_space(in_both(), SETTING, tmp_path / "killed", print, EFFORT)
    second = machine()
    assert measure_space(in_both(), SETTING, tmp_path / "killed", print, EFFORT).record() == expected
    names = [name for call in first.calls + second.calls for name in call[1:]]
    assert len(names) == len(set(names)) == 38

    again = machine()
    assert measure_space(in_both(), SETTING, tmp_path / "killed", print, EFFORT).record() == expected
    assert again.calls == []


def test_another_setting_or_space_is_measured_again(tmp_path, machine):
    told = []
    measure = machine()
    measure_space(in_both(SPACE[:4]), SETTING, tmp_path, told.append, EFFORT)
    calls = len(measure.calls)
    measure_space(in_both(SPACE[:4]), replace(SETTING, lengths=(32,)), tmp_path, told.append, EFFORT)
    assert len(measure.calls) == 2 * calls and any("measured again" in line for line in told)


def test_a_slow_group_is_measured_again_and_scaled_by_the_reference(tmp_path, machine):
    measure = machine(slow=(0, 2))
    speeds = measure_space(in_both(), SETTING, tmp_path, print, EFFORT)
    tries = sorted(each.tries for each in speeds.shapes.values())
    assert tries == [1] * 28 + [2] * 10 and len(measure.calls) == 8 + 2
    for (name, precision), each in speeds.shapes.items():
        assert each.times(speeds.reference_ms)[0] == pytest.approx(mean_ms(parse_shape(name), precision))
    always = machine(slow=(*range(3), *range(8, 20)))  # then after three tries it is taken as it is, and scaled
    speeds = measure_space(in_both(), SETTING, tmp_path / "slow", print, EFFORT)
    assert sorted(each.tries for each in speeds.shapes.values()) == [1] * 23 + [3] * 15 and len(always.calls) == 8 + 6
    slow = [key for key, each in speeds.shapes.items() if each.tries == 3]
    for name, precision in slow:
        found = speeds.shapes[name, precision].times(speeds.reference_ms)[0]
        assert found == pytest.approx(mean_ms(parse_shape(name), precision))


def test_only_a_much_slower_reference_tells_of_the_machine():
    first = Pass([[2.0, 1.0, 6.0], [10.0, 20.0, 30.0]], [4.0, 8.0])
    shape = MeasuredShape("a", "fp32", FITTED, [first], 1.0, 1.0)
    assert shape.times([4.0, 8.0]) == (11.0, 6.0, 18.0)  # the turns' means over the lengths: 6, 10.5, 18
    assert shape.times([4.5, 7.0]) == (11.0, 6.0, 18.0), "8 is 1.143 times 7: within 15 %"
    assert shape.times([4.5, 4.0]) == (6.0, 3.5, 10.5), "10, 20 and 30 were measured beside one that took twice as long"
    assert shape.times([8.0, 8.0]) == (12.0, 7.0, 21.0), "faster alike"
    second = Pass([[4.0, 4.0, 4.0], [16.0, 16.0, 40.0]], [4.0, 8.0])
    assert replace(shape, passes=[first, second]).times([4.0, 8.0]) == (10.5, 6.0, 22.0)  # (11 + 10) / 2


def test_every_pass_has_other_company(tmp_path, machine):
    measure = machine()
    speeds = measure_space(in_both(), SETTING, tmp_path, print, replace(EFFORT, passes=2))
    assert len(measure.calls) == 16 and {len(each.passes) for each in speeds.shapes.values()} == {2}
    first, second = ([set(call[1:]) for call in part] for part in (measure.calls[:8], measure.calls[8:]))
    assert set.union(*first) == set.union(*second) and not any(group in second for group in first)
    held_out = {"@".join(key) for key, each in speeds.shapes.items() if each.role == HELD_OUT}
    assert sum(bool(group & held_out) for group in first) > 4, "mixed with those that are fitted"


def test_further_shapes_are_added_and_change_no_prediction(tmp_path, machine):
    machine()
    speeds = measure_space(in_both(), SETTING, tmp_path, print, EFFORT)
    unseen = [shape for shape in SPACE if not speeds.figures(shape, "fp32").measured]
    measure = machine(odd=1.2)  # figures that are not the predicted ones
    more = measure_more(
        speeds, [(unseen[0], "fp32"), (parse_shape(next(iter(speeds.shapes))[0]), "fp32")], print, EFFORT
    )
    assert [call[1:] for call in measure.calls] == [[f"{shape_name(unseen[0])}@fp32"]]
    found = more.figures(unseen[0], "fp32")
    assert found.measured and found.latency_ms == pytest.approx(1.2 * mean_ms(unseen[0]))
    assert more.figures(unseen[1], "fp32") == speeds.figures(unseen[1], "fp32")
    again = machine()
    assert measure_space(in_both(), SETTING, tmp_path, print, EFFORT).figures(unseen[0], "fp32").measured
    assert again.calls == []


def test_the_engine_is_chosen_once(tmp_path, machine):
    measure = machine(engines={"paddle": 1.0, "onnxruntime": 0.7})
    auto = replace(SETTING, engine="auto")
    speeds = measure_space(in_both(), auto, tmp_path, print, EFFORT)
    assert speeds.engine == "onnxruntime" and len(measure.calls) == 1 + 8
    machine(engines={"paddle": 0.1, "onnxruntime": 0.7})
    assert measure_space(in_both(), auto, tmp_path, print, EFFORT).engine == "onnxruntime"
    assert json.loads((tmp_path / FILE).read_text())["engine"] == "onnxruntime"
    machine(engines={"no such": 1.0})
    with pytest.raises(ErnieTinyError, match="no engine runs"):
        measure_space(in_both(), auto, tmp_path / "none", print, EFFORT)
    with pytest.raises(ErnieTinyError, match="left out"):
        measure_space(in_both(), SETTING, tmp_path / "none", print, EFFORT)


def test_too_few_shapes_predict_nothing(tmp_path, machine):
    machine()
    speeds = measure_space([(shape, "fp32") for shape in SPACE[:7]], SETTING, tmp_path, print, EFFORT)
    assert speeds.figures(SPACE[0], "fp32").measured and not speeds.check.held_out
    with pytest.raises(InputError, match="7 shapes in fp32 are too few") as caught:
        speeds.figures(SPACE[-1], "fp32")
    assert FILE in str(caught.value) and caught.value.remedy


@pytest.fixture
def table(tmp_path):
    """The result of `ernie-tiny bench --json` on a device, as a mapping, and a function that writes it."""
    names = [f"{shape_name(shape)}@{precision}" for shape, precision in in_both(choose(SPACE, 1, (128,), 12))]
    engines = {"paddle": 2.0, "onnxruntime": 1.0}
    result = {
        "environment": {"cpu": "a device"},
        "records": list(Machine(engines=engines).records(names, SETTING, list(engines), 1.0)),
    }
    bundle = {**result["records"][0], "model": "bundle", "random_weights": False}
    result["records"].append(bundle)

    def written():
        (tmp_path / "device.json").write_text(json.dumps(result), encoding="utf-8")
        return tmp_path / "device.json"

    return result, written


def test_a_device_s_table_is_fitted(table):
    auto = replace(SETTING, engine="auto")
    speeds = read_device_table(table[1](), auto, ["fp32", "int8"])
    assert speeds.engine == "onnxruntime" and speeds.environment == {"cpu": "a device"}
    for shape, precision in in_both():
        assert speeds.figures(shape, precision).latency_ms == pytest.approx(mean_ms(shape, precision), rel=1e-3)
    found = speeds.figures(choose(SPACE, 1, (128,), 12)[0], "fp32")
    assert found.measured and (found.low, found.high) == pytest.approx((0.9 * found.latency_ms, 1.1 * found.latency_ms))
    assert speeds.check.one_by_one and speeds.check.right == 24
    speeds = read_device_table(table[1](), SETTING, ["fp32"])
    assert speeds.figures(SPACE[7], "fp32").latency_ms == pytest.approx(2 * mean_ms(SPACE[7]), rel=1e-3)
    with pytest.raises(InputError, match="no such file"):
        read_device_table(table[1]().with_name("other.json"), SETTING, ["fp32"])
    with pytest.raises(InputError, match="another device"):
        measure_more(speeds, [(SPACE[0], "fp32")], print)


@pytest.mark.parametrize(
    ("changed", "value"),
    [("batch", 8), ("threads", 4), ("engine", "openvino"), ("lengths", (64, 32)), ("device", "gpu")],
)
def test_a_table_of_another_setting_is_refused(table, changed, value):
    with pytest.raises(InputError) as caught:
        read_device_table(table[1](), replace(SETTING, **{changed: value}), ["fp32"])
    name = "length" if changed == "lengths" else changed
    shown = 32 if changed == "lengths" else value
    assert f"no shape with {name} {shown}" in str(caught.value) and "device.json" in str(caught.value)
    assert caught.value.remedy


def test_a_table_without_enough_shapes_is_refused(table):
    result, written = table
    with pytest.raises(InputError, match="no shape with precision bf16, only fp32, int8"):
        read_device_table(written(), SETTING, ["bf16"])
    names = list(dict.fromkeys(record["model"] for record in result["records"]))[:7]
    result["records"] = [record for record in result["records"] if record["model"] in names]
    with pytest.raises(InputError, match="7 shapes in fp32 in paddle") as caught:
        read_device_table(written(), SETTING, ["fp32"])
    assert "at least 8" in caught.value.remedy


@pytest.mark.parametrize("text", ["[]", "{", '{"records": []}', '{"environment": {}, "records": [{"model": "x"}]}'])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "table.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not the re") as caught:
        read_device_table(tmp_path / "table.json", SETTING, ["fp32"])
    assert "table.json" in str(caught.value) and caught.value.remedy


@pytest.mark.slow
def test_a_real_measurement(tmp_path):
    shapes = [(Shape(layers, 24, 4, 48, 400), "fp32") for layers in (1, 2)]
    effort = Effort(seconds=0.1, rounds=2, cache=tmp_path / "cache")
    speeds = measure_space(shapes, Setting(lengths=(8, 12), engine="paddle"), tmp_path, lambda line: None, effort)
    for shape, precision in shapes:
        found = speeds.figures(shape, precision)
        assert found == Figures(**asdict(found)) and found.measured
        assert 0 < found.low <= found.latency_ms <= found.high and found.files_mb > 0.03 and found.rss_mb > 50
    assert len(speeds.record()["shapes"]) == 2 and speeds.record()["environment"]["cpu"]
