import numpy as np
import pytest
from scipy.special import expit

from scalebayes import machine_code
from scalebayes.machine_code import compiled, sigmoid, softplus, versioned


@compiled
def pair(x):
    return softplus(x), sigmoid(x)


@pytest.mark.parametrize("x", [-800.0, -30.0, -1.0, 0.0, 0.3, 40.0, 800.0])
def test_softplus_is_the_log_of_a_sum_and_sigmoid_its_slope(x):
    assert pair(x) == pytest.approx((np.logaddexp(0.0, x), expit(x)), rel=1e-14)


def test_kept_code_has_another_name_once_another_module_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_code, "__file__", str(tmp_path / "machine_code.py"))

    def name_after(text):
        (tmp_path / "law.py").write_text(text, encoding="utf-8")

        @versioned("law")
        def density():
            pass

        return density.__qualname__

    first = name_after("E = 1")
    assert name_after("E = 2") != first
    assert name_after("E = 1") == first
