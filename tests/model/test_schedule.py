import math

from hypothesis import given
from hypothesis import strategies as st

from tailora.model.schedule import rate


@given(steps=st.integers(1, 500), warm_up=st.floats(0, 0.99))
def test_the_rate_rises_to_its_peak_once_and_then_only_falls(steps: int, warm_up: float) -> None:
    rates = [rate("cosine", step, steps, warm_up) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert rate("cosine", 0, 10, 0.0) == 1.0


def test_warm_up_is_linear_and_the_rest_is_half_a_cosine() -> None:
    rates = [rate("cosine", step, 110, 10 / 110) for step in range(110)]
    assert [round(rate, 12) for rate in rates[:10]] == [round(k / 10, 12) for k in range(1, 11)]
    assert math.isclose(rates[10 + 50], 0.5)
    assert math.isclose(rates[10 + 25], (1 + math.sqrt(0.5)) / 2)
