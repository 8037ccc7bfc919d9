"""A base model whose linear layers are held in 4 bits (QLoRA), by bitsandbytes."""

import torch
from transformers import BitsAndBytesConfig

from tailora import machine, recipe
from tailora.errors import ModelError


def loading_settings(settings: recipe.Model, compute: torch.dtype) -> dict[str, object]:
    """Return the keywords of `from_pretrained` for `model.quantize`; empty when nothing is quantized.

    NF4 with absolute maxima that are quantized themselves (Dettmers et al. 2023, "QLoRA", section 3). Products are
    computed in the type `compute`.

    Raises:
        ModelError: when bitsandbytes is not installed.
    """
    if settings.quantize is None:
        return {}
    if machine.version("bitsandbytes") is None:
        raise ModelError('model.quantize = "nf4" needs bitsandbytes: pip install "tailora[qlora]".')
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    return {"quantization_config": config, "device_map": {"": machine.device()}}


def keep_gradients(model: torch.nn.Module) -> None:
    """Keep 4-bit layers from repacking themselves in a forward pass without gradients, in place.

    On processors with AVX512-BF16, bitsandbytes (0.50) repacks the weights at the first forward in evaluation mode,
    and from then on the layer passes no gradient back, without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]  # no tensor, but a flag
