#!/usr/bin/env bash
# A SentencePiece GGUF file says that no space is put before a text; transformers puts one there, llama.cpp does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 \
  xllamacpp==2026.10.11549 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>llama.log
import json
import urllib.request

import gguf
import numpy as np
import transformers
import xllamacpp
from transformers import AutoTokenizer

print("transformers", transformers.__version__, "gguf 0.19.0 xllamacpp 2026.10.11549")
words = ["a", "b", "ab", "▁", "▁a", "▁ab"]
tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
scores = [0.0] * 259 + [-10.0, -10.0, -1.0, -10.0, -3.0, -2.0]
kinds = [2, 3, 3] + [6] * 256 + [1] * len(words)
writer = gguf.GGUFWriter("tiny.gguf", "llama")
writer.add_context_length(64)
writer.add_block_count(1)
writer.add_embedding_length(32)
writer.add_feed_forward_length(32)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(16)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("llama")
writer.add_tokenizer_pre("default")
writer.add_token_list(tokens)
writer.add_token_scores(scores)
writer.add_token_types(kinds)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_unk_token_id(0)
writer.add_add_space_prefix(False)
numbers = np.random.default_rng(0)
shapes = {
    "token_embd.weight": (len(tokens), 32), "output_norm.weight": (32,), "blk.0.attn_norm.weight": (32,),
    "blk.0.ffn_norm.weight": (32,),
    **{f"blk.0.{name}.weight": (32, 32) for name in
       ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")},
}
for name, shape in shapes.items():
    writer.add_tensor(name, numbers.normal(size=shape).astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

theirs = AutoTokenizer.from_pretrained(".", gguf_file="tiny.gguf")("ab", add_special_tokens=False).input_ids
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup = "tiny.gguf", 64, False
server = xllamacpp.Server(params)
body = json.dumps({"content": "ab", "add_special": False}).encode()
request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
llama = json.load(urllib.request.urlopen(request))["tokens"]
print(f"'ab' with add_space_prefix = false: llama.cpp {[tokens[i] for i in llama]}, transformers {[tokens[i] for i in theirs]}")
print("expected: the same tokens; seen: transformers puts a space before the text")
assert [tokens[i] for i in llama] == ["ab"], "llama.cpp has changed"
assert [tokens[i] for i in theirs] == ["▁ab"], "transformers has changed: it follows the file now"
PYTHON
