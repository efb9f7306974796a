"""Outputs and gold labels belong together row by row."""

import numpy as np
import pytest

from paddle_ernie_tiny.kinds.metrics import Scored


@pytest.mark.parametrize("gold", [[0], [0, 1, 0]])
def test_as_many_gold_labels_as_outputs(gold):
    with pytest.raises(ValueError, match=f"2 rows with outputs but {len(gold)} with gold labels"):
        Scored([np.zeros((1, 2))] * 2, gold, ["a", "b"])
