"""AdaLoRA while it trains: which singular values of the updates are kept, and the price of leaving orthogonality.

PEFT computes importance and masks (`RankAllocator`); it does so only when somebody calls it at each step, and it adds
the penalty to `outputs.loss`, which our losses never are. Both happen here, and what was allocated can be restored.
"""

import torch
from peft import AdaLoraModel
from torch import Tensor

from tailora.errors import RunError
from tailora.model.load import Transformer
from tailora.model.lora import adalora_ranks

# Shares of the steps: at first all ranks stay, at last none is taken away any more (Zhang et al. 2023, section 3.3).
_FIRST, _LAST = 0.1, 0.4
_FEWEST = 20  # steps; below, the importance of a rank is told from a handful of gradients


class Ranks:
    """Shares the budget of ranks out among the layers, step by step; without AdaLoRA there is nothing to share."""

    def __init__(self, model: Transformer, steps: int) -> None:
        self._model = model
        tuner = getattr(model, "base_model", None)
        self._tuner = tuner if isinstance(tuner, AdaLoraModel) else None
        if self._tuner is None:
            return
        if steps < _FEWEST:
            raise RunError(
                f'lora.method = "adalora" needs at least {_FEWEST} steps to tell the ranks apart; this training has '
                f"{steps}. Raise train.epochs, lower train.batch_size, or use another method."
            )
        self._config = self._tuner.peft_config["default"]
        self._config.total_step = steps
        self._config.tinit, self._config.tfinal = round(_FIRST * steps), round(_LAST * steps)
        self._config.deltaT = max(1, steps // 100)

    def is_shared_out(self, step: int) -> bool:
        """Say whether the budget is met after `step` steps, so that the weights are what was asked for."""
        return self._tuner is None or step >= self._config.total_step - self._config.tfinal

    def penalise(self) -> None:
        """Add the gradient of γ times the mean of ‖PᵀP − I‖ and ‖QQᵀ − I‖ (equation 4) to that of the loss."""
        if self._tuner is None:
            return
        named = list(self._tuner.model.named_parameters())
        grams = [p.T @ p for n, p in named if ".lora_B." in n] + [p @ p.T for n, p in named if ".lora_A." in n]
        apart = [torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)) for gram in grams]
        (self._config.orth_reg_weight * torch.stack(apart).mean()).backward()

    def share_out(self, step: int, finite: bool) -> None:
        """Weigh the ranks by the gradients of step number `step` (from 1), and silence those that count least.

        Call it after the optimizer, while the gradients are there. A step that is not finite counts as one that found
        no rank important.
        """
        if self._tuner is None:
            return
        if not finite:
            for weight in self._tuner.model.parameters():
                if weight.grad is not None:
                    weight.grad.zero_()
        self._tuner.update_and_allocate(step)

    def ranks(self) -> dict[str, int]:
        """Return the rank of each layer by its name."""
        return adalora_ranks(self._model)

    def state(self) -> dict[str, Tensor]:
        """Return all that decides how sharing out goes on, as tensors by name."""
        if self._tuner is None:
            return {}
        allocator, pattern = self._tuner.rankallocator, self._config.rank_pattern or {}
        return {
            **{f"importance/{name}": tensor for name, tensor in allocator.exp_avg_ipt.items()},
            **{f"uncertainty/{name}": tensor for name, tensor in allocator.exp_avg_unc.items()},
            **{f"kept/{name}": torch.tensor(kept) for name, kept in pattern.items()},
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        if self._tuner is None:
            return
        found: dict[str, dict[str, Tensor]] = {"importance": {}, "uncertainty": {}, "kept": {}}
        for place, tensor in state.items():
            kind, _, name = place.partition("/")
            found[kind][name] = tensor.to(self._model.device)
        allocator = self._tuner.rankallocator
        allocator.exp_avg_ipt, allocator.exp_avg_unc = found["importance"], found["uncertainty"]
        allocator.ipt = {name: tensor.clone() for name, tensor in found["importance"].items()}  # set anew at each step
        self._config.rank_pattern = {name: kept.tolist() for name, kept in found["kept"].items()} or None
