"""Names, parameters and FLOPs of shapes, against figures worked out by hand and against PaddleNLP's own models."""

import pytest

from paddle_ernie_tiny.benchmark.subjects import KNOWN, Shape, flops, parameters, parse_shape
from paddle_ernie_tiny.errors import InputError


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bert-base", Shape(12, 768, 12, 3072)),
        ("4L-312H", Shape(4, 312, 12, 1200)),
        ("3l-192h", Shape(3, 192, 12, 768)),
        ("2l-128h-2heads", Shape(2, 128, 2, 512)),
        ("12l-768h-12heads-3072ffn", KNOWN["bert-base"]),
        ("1l-32h", Shape(1, 32, 8, 128)),  # 12 does not divide 32
        ("4l-312h-8000vocab", Shape(4, 312, 12, 1200, 8000)),
        ("2l-128h-2heads-300ffn-500vocab", Shape(2, 128, 2, 300, 500)),
        ("0l-64h-500vocab", Shape(0, 64, 8, 256, 500)),  # averaged embeddings
    ],
)
def test_names(name, shape):
    assert parse_shape(name) == shape


@pytest.mark.parametrize(
    "name", ["bert-huge", "4l", "l-h", "4l-312h-5heads", "0l-0h", "4l-312h-0heads", "4l-312h-vocab"]
)
def test_a_wrong_name_is_refused_with_a_remedy(name):
    with pytest.raises(InputError) as caught:
        parse_shape(name)
    assert name in str(caught.value) and caught.value.remedy


def test_parameters_by_hand():
    # embeddings (10 + 512 + 2) * 4 + 2 * 4 = 2104; a layer 4 * (16 + 4) + (24 + 6) + (24 + 4) + 16 = 154;
    # pooler 16 + 4 = 20; classifier 4 * 2 + 2 = 10
    assert parameters(Shape(2, 4, 2, 6, vocab_size=10)) == 2104 + 2 * 154 + 20 + 10
    assert parameters(Shape(0, 4, 2, 6, vocab_size=10)) == 2104 + 20 + 10


def test_the_paper_s_sizes():
    assert parameters(KNOWN["bert-base"]) / parameters(KNOWN["4l-312h"]) > 7.5
    assert parameters(KNOWN["bert-base"]) == 102_269_186


def test_parameters_are_those_of_the_model():
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification

    from paddle_ernie_tiny.models.build import count_parameters

    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=300,
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=50,
            type_vocab_size=2,
            num_labels=5,
        )
    )
    assert count_parameters(model) == parameters(Shape(3, 24, 4, 50, vocab_size=300, labels=5))


def test_flops_by_hand():
    # n = 3, h = 4, f = 6. Projections: 4 products [3, 4] x [4, 4], 2 * 3 * 4 * 4 = 96 each; attention: 2 products
    # [3, 4] x [4, 3], 72 each; FFN: 2 products of 2 * 3 * 4 * 6 = 144; head 2 * 4 * 4 + 2 * 4 * 2 = 48
    layer = 4 * 96 + 2 * 72 + 2 * 144
    assert flops(Shape(2, 4, 2, 6), 3) == 2 * layer + 48
    # the last layer for the first token alone, 2 heads: query, key, value and output of one row (32 each), each of
    # 2 heads against 3 states of width 4, twice (2 * 2 * 3 * 4 = 48 each), FFN of one row (48 each)
    assert flops(Shape(2, 4, 2, 6), 3, first_token_only=True) == layer + 4 * 32 + 2 * 48 + 2 * 48 + 48
    # without layers: the mean, a product [1, 3] x [3, 4], and the head
    assert flops(Shape(0, 4, 2, 6), 3) == flops(Shape(0, 4, 2, 6), 3, first_token_only=True) == 2 * 3 * 4 + 48


def test_the_fp32_ceiling_of_the_student():
    teacher, student = KNOWN["bert-base"], KNOWN["4l-312h"]
    assert flops(teacher, 128) / flops(student, 128) == pytest.approx(18.1, abs=0.2)
    assert flops(teacher, 128, True) / flops(student, 128, True) == pytest.approx(22.0, abs=0.5)
