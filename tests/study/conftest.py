"""What the tests of studies share."""

import pytest
import yaml

from paddle_ernie_tiny.study.ablate import plan_jobs
from paddle_ernie_tiny.study.study_settings import load_study

from .recorded import VARIANTS


@pytest.fixture
def study(tmp_path, project_root):
    """A function that plans a study: (settings, jobs). Stages of 30, 70, 20 and 50 steps; the files are the demo's."""
    demo = yaml.safe_load((project_root / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    for stage, steps in zip(demo["stages"], (30, 70, 20, 50), strict=True):
        stage["training"] = {"max_steps": steps, "learning_rate": 1e-3, "per_device_train_batch_size": 8}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(demo), encoding="utf-8")

    def plan(**changes):
        file = tmp_path / "study.yaml"
        values = {"output_dir": str(tmp_path / "out"), "base": "base.yaml", "seeds": [1, 2], "variants": VARIANTS}
        file.write_text(yaml.safe_dump({**values, **changes}), encoding="utf-8")
        settings, base = load_study(file)
        return settings, plan_jobs(settings, base, str(file))[0]

    return plan
