// SPDX-License-Identifier: Apache-2.0
//
// The strategies of a GPU. Adding one: a file that has its DeviceStrategy, and a line in strategies.cpp.
#pragma once

#include "../../sampled/params.h"
#include "sampled_cuda.h"

namespace sounder::cuda {

const DeviceStrategy &sketch_strategy();
const DeviceStrategy &lsh_strategy();
const DeviceStrategy &quest_strategy();
const DeviceStrategy &topk_strategy();
const DeviceStrategy &oracle_strategy();        // one Poisson draw for a group
const DeviceStrategy &oracle_draws_strategy();  // independent draws for each head

constexpr int kDeviceStrategies = 6;
// Of 0 … kDeviceStrategies - 1.
const DeviceStrategy &device_strategy(int index);
// Which of them serves a request; throws where none does.
int device_strategy_of(const SampledParams &params);

// Scores of keys, for strategies that read them all: scale · q·k of the keys [0, end) as words, in float32
// or as numbers that rank them (rank_of); and the greatest of those from `begin` on.
void launch_scores(const Launcher &launcher, const SampledStep &step, float scale, bool ranks);

// From ranks of items of `unit` keys, at the word of their first key, to each head's best until its budget of
// keys is covered (../../sampled/best_keys.h).
void choose_best(const Launcher &launcher, const SampledStep &step, int unit);

}  // namespace sounder::cuda
