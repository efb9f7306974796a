"""The predictor: threads that share weights, and ways to run that it refuses."""

import threading

import numpy as np
import pytest

from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.errors import InputError


def test_clones_in_threads_answer_as_one_predictor_does(classifier):
    predictor = Predictor(classifier.folder)
    expected = predictor.logits(classifier.texts, batch_size=4)
    found, errors = {}, []

    def work(number, own):
        try:
            found[number] = [own.logits(classifier.texts, batch_size=4) for _ in range(20)]
        except Exception as error:  # a thread's exception would pass unseen
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i, predictor.clone())) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(found) == [0, 1, 2, 3]
    for runs in found.values():
        for logits in runs:
            np.testing.assert_array_equal(logits, expected)


def test_a_clone_that_ends_leaves_the_others_their_weights(classifier):
    predictor = Predictor(classifier.folder)
    expected, kept = predictor.logits(classifier.texts), predictor.clone()
    for _ in range(3):
        predictor.clone().logits(classifier.texts)
    for still in (predictor, kept):
        np.testing.assert_array_equal(still.logits(classifier.texts), expected)


def test_more_cpu_threads_change_nothing(classifier):
    one, two = Predictor(classifier.folder, threads=1), Predictor(classifier.folder, threads=2)
    np.testing.assert_allclose(one.logits(classifier.texts), two.logits(classifier.texts), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "int8"}, "does not run in 'int8' on a cpu.*\n.*quantize the bundle first"),
        ({"precision": "fp16"}, "does not run in 'fp16' on a cpu"),
        ({"device": "gpu", "precision": "bf16"}, "does not run in 'bf16' on a gpu"),
    ],
)
def test_what_bundle_and_device_do_not_have_together_is_refused(classifier, options, message):
    with pytest.raises(InputError, match=message):
        Predictor(classifier.folder, **options)


def test_a_gpu_where_paddle_has_none_is_refused(classifier):
    import paddle

    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle has GPU support")
    with pytest.raises(InputError, match="this Paddle has no GPU"):
        Predictor(classifier.folder, device="gpu")


@pytest.mark.parametrize(
    ("text", "message"), [("a\x07", "control character U\\+0007"), ("\u200b", "the text is empty")]
)
def test_a_text_that_is_refused_is_named_by_its_place(classifier, text, message):
    with pytest.raises(InputError, match=rf"texts\[1\]: {message}"):
        Predictor(classifier.folder).predict(["天地", text])
