"""Adapters: put LoRA on a frozen model, and save it as a standard PEFT directory."""

from pathlib import Path
from typing import Any

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.load import quiet_transformers


def add_lora(model: Any, settings: recipe.Lora, seed: int) -> Any:
    """Return `model` with fresh float32 adapters on `settings.targets`, everything else frozen.

    The first weights depend on `seed` only. B starts at zero, so the model still answers as the base does.

    Raises:
        ModelError: when no module has one of the target names.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.targets,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        with quiet_transformers():
            return get_peft_model(model, config)
    except ValueError as error:
        names = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if getattr(m, "weight", None) is not None}
        )
        raise ModelError(f"lora.targets = {settings.targets!r}: {error} Modules here: {', '.join(names)}.") from None


def trainable(model: Any) -> dict[str, Any]:
    """Return the weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter as `adapter_config.json` and `adapter_model.safetensors`, readable by all."""
    with quiet_transformers():
        model.save_pretrained(folder, save_embedding_layers=False)
    for file in folder.iterdir():
        file.chmod(0o644)
