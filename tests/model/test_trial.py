"""What a trial foretells is what training then does; a training that memory does not hold is refused with a way out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from tailora import machine, recipe
from tailora.errors import RunError
from tailora.model.fit import fit, foretell
from tailora.model.forecast import Held, expected_bytes, grown, time_text
from tailora.model.lora import add_lora, trainable
from tailora.model.losses import choose_path, recompute_activations
from tailora.model.trial import kept_bytes, shortened
from tailora.run import Stage
from tailora.tasks.generate import Generate
from tailora.text.chat import Sample
from tests.toys import toy_model, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())


def adapted() -> Any:
    return add_lora(toy_model(), recipe.Lora(rank=4), 0)


@given(start=st.integers(0, 10**10), slope=st.integers(0, 10**7), sizes=st.lists(st.integers(1, 10**5), min_size=3))
def test_memory_that_grows_with_the_tokens_is_foretold_exactly(start: int, slope: int, sizes: list[int]) -> None:
    small, middle, large = 0, min(sizes), sum(sizes)
    measured = [Held(tokens, start + slope * tokens) for tokens in (small, middle)]
    assert expected_bytes(large, measured) == pytest.approx(start + slope * large, abs=1)


def test_a_quarter_of_what_a_trial_took_is_added_and_kernels_where_they_are_more() -> None:
    assert grown(1400, 1000) == grown(1400, 1000, kernels=90) == 1500
    assert grown(1400, 1000, kernels=300) == 1700


def test_memory_that_was_given_back_does_not_count_as_growth() -> None:
    assert expected_bytes(100, [Held(10, 1000), Held(20, 900)]) == 900


@given(share=st.floats(0.01, 1), seed=st.integers(0, 50))
def test_a_shortened_sample_ends_as_the_whole_and_learns_something(share: float, seed: int) -> None:
    (whole,) = toy_samples(1, seed)
    part = shortened(whole, share)
    assert part.tokens == whole.tokens[-len(part.tokens) :]
    assert 1 <= part.targets <= whole.targets
    assert all(0 < start < stop <= len(part.tokens) for start, stop in part.learned)
    assert len(part.tokens) <= max(2, share * len(whole.tokens) + 1)


def test_a_trial_takes_everything_back_and_counts_what_training_then_does(tmp_path: Path) -> None:
    model, train, val = adapted(), toy_samples(10), toy_samples(4, seed=1)
    settings = recipe.Train(epochs=2, batch_size=4, lr=0.1)
    before = {name: weight.detach().clone() for name, weight in trainable(model).items()}
    foretold = foretell(model, train, val, TASK.loss, settings, Stage(tmp_path))
    assert all(torch.equal(before[name], weight) for name, weight in trainable(model).items())
    assert all(weight.grad is None for weight in model.parameters())
    assert not list(tmp_path.iterdir())
    fitted = fit(model, train, val, TASK.loss, settings, Stage(tmp_path))
    assert fitted.steps == foretold.steps == 6
    assert fitted.tokens == 2 * foretold.tokens_an_epoch
    assert foretold.seconds > foretold.validation_seconds > 0
    assert foretold.peak_bytes == pytest.approx(fitted.peak_bytes, rel=0.2)


def test_a_training_that_needs_more_than_it_may_hold_is_refused_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"would need \d\.\d\d GiB of memory and 0\.01 GiB may be held.*max_length"):
        fit(adapted(), toy_samples(10), toy_samples(4), TASK.loss, recipe.Train(memory_mb=10), Stage(tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_memory_that_is_foretold_is_a_bound_and_is_what_a_limit_is_compared_with(tmp_path: Path) -> None:
    def trained(folder: str, memory_mb: int | None = None) -> Any:
        torch.manual_seed(0)
        config = Gemma3TextConfig(
            vocab_size=262_144, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1, head_dim=8,
        )  # fmt: skip
        model = add_lora(Gemma3ForCausalLM(config).eval(), recipe.Lora(rank=2), 0)
        choose_path(model, "fast")
        settings = recipe.Train(epochs=1, batch_size=8, lr=0.1, memory_mb=memory_mb)
        stage = Stage(tmp_path / folder)
        machine.forget_peak()
        fitted = fit(model, toy_samples(16), toy_samples(2, seed=1), TASK.loss, settings, stage)
        return fitted.peak_bytes, stage.facts["plan"]["peak_bytes"]

    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    used, foretold = trained("first")
    assert used <= foretold <= 1.25 * used
    with pytest.raises(RunError, match="would need"):
        trained("second", memory_mb=used // 2**20 - 1)


def test_what_a_pass_keeps_grows_with_its_rows_and_shrinks_when_layers_are_recomputed() -> None:
    model, samples = adapted(), toy_samples(8)
    model.train()
    few, many = kept_bytes(model, samples[:1], TASK.loss), kept_bytes(model, samples, TASK.loss)
    recompute_activations(model)
    assert few < kept_bytes(model, samples, TASK.loss) < many / 2


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0 s"), (99, "99 s"), (125, "2 min"), (5900, "98 min"), (7200, "2.0 h")]
)
def test_a_duration_is_told_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_a_shortened_text_keeps_its_label() -> None:
    short = shortened(Sample(list(range(40)), [], label=2), 0.25)
    assert (short.tokens, short.label, short.targets) == (list(range(10)), 2, 1)
