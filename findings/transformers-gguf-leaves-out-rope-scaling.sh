#!/usr/bin/env bash
# transformers reads a GGUF file whose rotary embedding is scaled as if it were not scaled, and says nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import gguf
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

print("transformers", transformers.__version__, "gguf 0.19.0 torch", torch.__version__)
torch.manual_seed(0)


def write(config: LlamaConfig, path: str) -> LlamaForCausalLM:
    """Write a random Llama as llama.cpp's converter does; returns its source."""
    model = LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if config.rope_parameters["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    else:  # Llama 3: each frequency divided by a factor of its own
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        plain = 1 / config.rope_parameters["rope_theta"] ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).float().numpy())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        values = weight.float().numpy()
        if "q_proj" in name or "k_proj" in name:
            values = values.reshape(config.num_attention_heads, 2, -1, config.hidden_size).swapaxes(1, 2).reshape(values.shape)
        stem, _, kind = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


kinds = {
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
for kind, rope in kinds.items():
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, head_dim=16,
        num_key_value_heads=4, rope_parameters=rope, max_position_embeddings=32_768, initializer_range=0.3,
    )
    source = write(config, f"{kind}.gguf")
    loaded = AutoModelForCausalLM.from_pretrained(".", gguf_file=f"{kind}.gguf", dtype=torch.float32).eval()
    tokens = torch.randint(0, 64, (1, 60))
    with torch.inference_mode():
        apart = (loaded(tokens).logits - source(tokens).logits).abs().max().item()
        first = (loaded(tokens[:, :1]).logits - source(tokens[:, :1]).logits).abs().max().item()
    seen = loaded.config.rope_parameters["rope_type"]
    print(f"{kind}: the file scales its rotary embedding; loaded with rope_type = {seen!r};")
    print(f"  logits differ by {first:.4f} on one token, where no position counts, and by {apart:.2f} on sixty")
    assert seen == "default" and first < 1e-3, "transformers has changed: it reads the scaling now"
    assert kind == "llama3" or apart > 0.1, "transformers has changed"
print("expected: the scaling of the file, or a refusal; seen: neither")
PYTHON
