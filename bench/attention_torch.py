# SPDX-License-Identifier: Apache-2.0
"""Times PyTorch's dense attention of one query token on the CPU: a call with cold caches, in milliseconds,
for each line read. The query heads of a group are rows of their KV head, so that K and V are read once.

    attention_torch.py LENGTH KV_HEADS GROUP HEAD_DIM THREADS
"""
import sys
import time

import torch

length, kv_heads, group, head_dim, threads = (int(word) for word in sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(1)
q = torch.randn(1, kv_heads, group, head_dim).to(torch.bfloat16)
k = torch.randn(1, kv_heads, length, head_dim).to(torch.bfloat16)
v = torch.randn(1, kv_heads, length, head_dim).to(torch.bfloat16)
flushed = torch.ones(640 << 18, dtype=torch.int32)


def attend() -> float:
    flushed.sum()
    start = time.perf_counter()
    torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return (time.perf_counter() - start) * 1e3


with torch.inference_mode():
    attend()
    print(f"torch {torch.__version__}", flush=True)
    for _ in sys.stdin:
        print(attend(), flush=True)
