# SPDX-License-Identifier: Apache-2.0
"""How far Hugging Face transformers in bfloat16 is from the float32 goldens of the tiny models.

    python hf_bf16_families.py FAMILIES OUT [--dtype bfloat16|float32] [--threads N]

FAMILIES is the folder with one folder a model, OUT the JSON file to write. Compared are all logits that
`golden.json` holds; README.md beside this script says what the tests make of the figures.
"""

import argparse
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

from hf_bf16 import distance, logits_of, made_with, write


def measure(folder: pathlib.Path, dtype: torch.dtype) -> dict:
    golden = json.loads((folder / "golden.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    logits = logits_of(model, golden["tokens"], False)
    differences = [logits[position] - row for position, row in zip(golden["positions"], golden["logits"], strict=True)]
    return distance(differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    folders = sorted(path.parent for path in arguments.families.glob("*/golden.json"))
    families = {folder.name: measure(folder, getattr(torch, arguments.dtype)) for folder in folders}
    head = {
        "what": f"distance of transformers in {arguments.dtype} from the float32 goldens; see scripts/reference/README.md",
        "made_with": made_with(sys.argv, arguments.dtype, arguments.threads),
    }
    write(arguments.out, head, {"families": families})


if __name__ == "__main__":
    main()
