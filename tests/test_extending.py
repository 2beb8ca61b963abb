"""The network in docs/extending.md works as it stands there."""

import re
from pathlib import Path

from shared.models.build import build_model
from tests.processes import ROOT


def test_the_example_of_a_network(tmp_path: Path) -> None:
    text = (ROOT / "docs/extending.md").read_text()
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "class Net" in block
    )
    (tmp_path / "my_net.py").write_text(code)
    model = build_model(f"{tmp_path}/my_net.py:make", 5, size=32)
    assert model.stage_modules == ("early", "late")
    assert model.channels == (8, 16) and model.num_classes == 5
    assert model.pooled and model.is_linear and not model.signed
