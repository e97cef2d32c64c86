#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Brings CUDA's compiler and cuBLAS from PyPI into build/cuda-toolkit, where CMake finds them: for machines
# without CUDA, to compile for GPUs there. Takes 840 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m pip install --quiet --no-deps --no-compile --upgrade --target build/cuda-toolkit \
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14
cd build/cuda-toolkit/nvidia/cu13
# The wheels have neither the folder nor the names that compilers and linkers look for.
ln -sfn lib lib64
ln -sf libcublasLt.so.13 lib/libcublasLt.so
