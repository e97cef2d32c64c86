# SPDX-License-Identifier: Apache-2.0
"""How far Hugging Face transformers in bfloat16 is from the float32 goldens of one model.

    python hf_bf16.py MODEL GOLDEN OUT [--dtype bfloat16|float32] [--threads N]

MODEL is a GGUF file or a folder with model.safetensors, GOLDEN the folder of its goldens, OUT the JSON file to
write. Weights, activations, keys, values and logits are bfloat16, attention is eager, on the CPU, in one pass
without a cache. README.md beside this script says what the figures mean and what the tests make of them.
"""

import argparse
import json
import math
import pathlib
import platform
import sys
import tempfile
import time

import numpy
import safetensors
import torch
import transformers

from reference_model import open_model, transformers_folder

LONG = 1000
SHORT = 64
# No texts: a lone special token, and one word over and over. They stand apart from the groups by length.
DEGENERATE = ("special-token-only", "one-token-64-times")


def logits_of(model, ids: list[int], last_only: bool) -> numpy.ndarray:
    """Logits as float64, one row a position."""
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1 if last_only else 0)
    return out.logits[0].double().numpy()


def log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    top = logits.max(axis=-1, keepdims=True)
    return logits - (top + numpy.log(numpy.exp(logits - top).sum(axis=-1, keepdims=True)))


def distance(differences) -> dict:
    values = numpy.abs(numpy.asarray(differences, dtype=numpy.float64))
    return {
        "count": int(values.size),
        "rms": round(float(math.sqrt((values**2).mean())), 6),
        "max": round(float(values.max()), 6),
    }


def pool(distances: list[dict]) -> dict:
    """The distance over the differences of several distances together."""
    count = sum(d["count"] for d in distances)
    squares = sum(d["count"] * d["rms"] ** 2 for d in distances)
    return {"count": count, "rms": round(math.sqrt(squares / count), 6), "max": max(d["max"] for d in distances)}


def groups_of(prompt: dict) -> list[str]:
    if prompt["name"] in DEGENERATE:
        return ["degenerate"]
    length = "long" if prompt["n"] >= LONG else "short" if prompt["n"] <= SHORT else "medium"
    return [length, "all"]


def pooled_groups(prompts: list[dict]) -> dict:
    groups: dict[str, dict[str, list[dict]]] = {}
    for prompt in prompts:
        for name in groups_of(prompt):
            for what in ("logits", "logprobs"):
                if what in prompt:
                    groups.setdefault(name, {}).setdefault(what, []).append(prompt[what])
    return {name: {what: pool(found) for what, found in group.items()} for name, group in sorted(groups.items())}


def compare_prompt(model, prompt: dict) -> dict:
    """Differences at the last position, and of log-probabilities at every position where the golden has them."""
    logits = logits_of(model, prompt["ids"], "top5" not in prompt)
    last = prompt["last"]
    pairs = last["top"] + last["probe"]
    result = {"logits": [logits[-1, token] - value for token, value in pairs], "logprobs": []}
    result["same_top"] = int(logits[-1].argmax()) == last["top"][0][0]
    if "top5" in prompt:
        logprobs = log_softmax(logits)
        for position, flat in enumerate(prompt["top5"]):
            result["logprobs"] += [logprobs[position, flat[i]] - flat[i + 1] for i in range(0, 10, 2)]
        for position, value in enumerate(prompt["next_logprob"]):
            result["logprobs"].append(logprobs[position, prompt["ids"][position + 1]] - value)
    return result


def compare_greedy(model, case: dict) -> list[float]:
    """Differences of each margin, the golden continuation fed in (teacher forcing)."""
    logits = logits_of(model, case["prompt_ids"] + case["ids"][:-1], False)
    rows = logits[len(case["prompt_ids"]) - 1 :]
    steps = zip(rows, case["ids"], case["second"], case["margin"], strict=True)
    return [row[first] - row[second] - margin for row, first, second, margin in steps]


def mean_nll(model, ids: list[int]) -> float:
    logprobs = log_softmax(logits_of(model, ids, False))
    return float(-logprobs[numpy.arange(len(ids) - 1), ids[1:]].mean())


def measure(model, golden: pathlib.Path) -> dict:
    def read(name):
        return json.loads((golden / name).read_text())

    prompts = []
    for prompt in read("logits.json")["prompts"]:
        started = time.monotonic()
        got = compare_prompt(model, prompt)
        print(prompt["name"], f"{time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        entry = {"name": prompt["name"], "n": prompt["n"], "same_top": got["same_top"]}
        entry["logits"] = distance(got["logits"])
        if got["logprobs"]:
            entry["logprobs"] = distance(got["logprobs"])
        prompts.append(entry)

    cases = [(case["name"], compare_greedy(model, case)) for case in read("greedy.json")["cases"]]
    texts = [(text["name"], text["mean_nll"], mean_nll(model, text["ids"])) for text in read("perplexity.json")["texts"]]
    return {
        "groups": pooled_groups(prompts),
        "greedy_margins": distance([d for _, differences in cases for d in differences]),
        "mean_nll": distance([got - expected for _, expected, got in texts]),
        "prompts": prompts,
        "greedy": [{"name": name} | distance(differences) for name, differences in cases],
        "texts": [
            {"name": name, "float32": expected, "here": round(got, 6), "difference": round(got - expected, 6)}
            for name, expected, got in texts
        ],
    }


def write(path: pathlib.Path, head: dict, figures: dict) -> None:
    """One item of each list per line, as in the goldens."""
    lines = []
    for key, value in (head | figures).items():
        if isinstance(value, list):
            items = ",\n".join(json.dumps(item, separators=(",", ":")) for item in value)
            lines.append(f"{json.dumps(key)}: [\n{items}\n]")
        elif key in ("families", "groups"):
            items = ",\n".join(f"{json.dumps(name)}: {json.dumps(item)}" for name, item in value.items())
            lines.append(f"{json.dumps(key)}: {{\n{items}\n}}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def made_with(argv: list[str], dtype: str, threads: int) -> dict:
    return {
        "command": " ".join(["python", *argv]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "numpy": numpy.__version__,
        "dtype": dtype,
        "attention": "eager",
        "device": "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)

    with tempfile.TemporaryDirectory() as folder:
        checked = transformers_folder(arguments.model, arguments.golden, pathlib.Path(folder))
        model = open_model(pathlib.Path(folder), getattr(torch, arguments.dtype))
        figures = measure(model, arguments.golden)
    head = {
        "what": f"distance of transformers in {arguments.dtype} from the float32 goldens; see scripts/reference/README.md",
        "model": arguments.golden.name,
        "made_with": made_with(sys.argv, arguments.dtype, arguments.threads) | {"tensors_equal_to_golden": checked},
    }
    write(arguments.out, head, figures)


if __name__ == "__main__":
    main()
