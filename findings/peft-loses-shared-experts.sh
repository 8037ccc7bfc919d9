#!/usr/bin/env bash
# PEFT reloads an adapter of a Laguna model without what it learned in the shared expert; all it does is warn.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

print("peft", peft.__version__, "transformers", transformers.__version__, "torch", torch.__version__)


def base() -> torch.nn.Module:
    """Make a small model of random weights, always the same."""
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    heads = dict(num_key_value_heads=2, head_dim=8, max_position_embeddings=64)
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=16)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("laguna", **sizes, **heads, **experts)).eval()


def says(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 23)[None]).logits


def reloaded(targets: list[str]) -> float:
    """Return how far the logits of an adapter as saved and loaded lie from those before."""
    model = get_peft_model(base(), LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained("adapter")
    again = PeftModel.from_pretrained(base(), "adapter").eval()
    for key, stored in load_file("adapter/adapter_model.safetensors").items():
        now = again.state_dict()[key.replace(".weight", ".default.weight")]
        print(" ", "kept" if now.equal(stored) else "LOST", key)
    return float((says(again) - says(model)).abs().max())


# transformers renames "mlp.shared_expert." of old checkpoints by a pattern whose last dot is any character, so it also
# takes the new name "mlp.shared_experts", and PEFT applies it to the keys of every adapter.
attention, experts = reloaded(["q_proj"]), reloaded(["gate_proj"])
print(f"logits after reloading differ by {attention:.3g} (q_proj) and {experts:.3g} (gate_proj)")
assert attention == 0, "even attention is not reloaded"
assert experts > 0.01, "what was seen has changed: the shared expert is reloaded"
PYTHON
