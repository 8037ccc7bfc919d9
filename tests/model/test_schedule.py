import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.model.schedule import rate

SCHEDULES = ("cosine", "linear", "constant", "wsd")


@given(schedule=st.sampled_from(SCHEDULES), steps=st.integers(1, 500), warmup=st.floats(0, 0.99))
def test_the_rate_rises_to_its_peak_once_and_then_never_rises(schedule: str, steps: int, warmup: float) -> None:
    rates = [rate(schedule, step, steps, warmup) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_is_at_the_peak(schedule: str) -> None:
    assert rate(schedule, 0, 10, 0.0) == 1.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_linear(schedule: str) -> None:
    rates = [rate(schedule, step, 110, 10 / 110) for step in range(10)]
    assert rates == pytest.approx([k / 10 for k in range(1, 11)])


# The value at a share of the way from the peak to the end, in closed form.
CLOSED_FORMS = {
    "cosine": {0.25: (1 + math.sqrt(0.5)) / 2, 0.5: 0.5, 0.75: (1 - math.sqrt(0.5)) / 2},
    "linear": {0.25: 0.75, 0.5: 0.5, 0.99: 0.01},
    "constant": {0.25: 1, 0.5: 1, 0.99: 1},
    "wsd": {0.25: 1, 0.79: 1, 0.8: 1, 0.85: 0.5, 0.95: 1 - math.sqrt(0.75)},
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_after_warm_up_the_rate_has_its_closed_form(schedule: str) -> None:
    for share, value in CLOSED_FORMS[schedule].items():
        assert rate(schedule, 10 + round(100 * share), 110, 10 / 110) == pytest.approx(value)


def test_linear_and_cosine_are_those_of_transformers() -> None:
    import torch
    from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

    for schedule, theirs in (("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup)):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        reference = theirs(optimizer, num_warmup_steps=10, num_training_steps=110)
        for step in range(10, 110):
            reference.last_epoch = step
            assert rate(schedule, step, 110, 10 / 110) == pytest.approx(reference.lr_lambdas[0](step))
