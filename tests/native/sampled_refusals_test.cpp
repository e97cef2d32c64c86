// SPDX-License-Identifier: Apache-2.0
//
// What sampled attention refuses, and that nobody else pays for it.
#include <string>

#include "sampled_engine.h"

namespace {

using tiny::Asked;
using tiny::Attended;
using tiny::Config;
using tiny::kPrompt;
using tiny::SampledEngine;
using tiny::Sequence;

}  // namespace

TEST("a strategy without its index is refused with a sentence, and the context stays as it was") {
  Config config = tiny::sampling_config();
  config.sketch_bits = config.lsh_bits = config.lsh_tables = config.quest_page = 0;
  config.yardsticks = false;
  SampledEngine engine(config);
  const int32_t context = engine.filled(10);
  for (int attention = SOUNDER_ATTENTION_SKETCH; attention < SOUNDER_ATTENTION_COUNT; ++attention) {
    const Asked asked{.attention = attention};
    tiny::StepResult result = engine.step({tiny::asking(Sequence{context, {1}}, asked)});
    CHECK(result.statuses[0] == SOUNDER_INVALID && engine.length(context) == 10);
    CHECK(engine.error().find("This engine has no ") != std::string::npos);
  }
}

TEST("more collisions than there are tables are refused: no key would be found") {
  Config config = tiny::sampling_config();
  config.lsh_tables = 2;
  SampledEngine engine(config);
  const int32_t context = engine.filled(10);
  const std::vector<float> q = engine.query(1);
  CHECK(engine.attend(context, {.attention = SOUNDER_ATTENTION_LSH, .collisions = 3}, q).status ==
        SOUNDER_INVALID);
  CHECK(engine.error().find("No key is found in 3 tables: this engine has 2") != std::string::npos);
  for (const Asked &asked :
       {Asked{.attention = SOUNDER_ATTENTION_LSH, .collisions = 2}, Asked{.collisions = 3}})
    CHECK(engine.attend(context, asked, q).status == SOUNDER_OK);
}

TEST("figures out of range are refused with a sentence") {
  SampledEngine engine;
  const int32_t context = engine.filled(10);
  auto refused = [&](const Asked &asked, const char *what) {
    CHECK(engine.attend(context, asked, engine.query(1)).status == SOUNDER_INVALID);
    CHECK(engine.error().find(what) != std::string::npos);
  };
  refused({.attention = 6}, "attention");
  refused({.budget = 0}, "budget");
  refused({.budget = 1.5f}, "budget");
  refused({.budget = NAN}, "budget");
  refused({.beta = 5}, "beta");
  refused({.collisions = 4}, "collisions");
  refused({.draws = -1}, "draws");
  refused({.verify = 2}, "verify");
  refused({.from = -1}, "sample from");
  Attended layer = engine.attend(context, {}, engine.query(1), 9);
  CHECK(layer.status == SOUNDER_INVALID && engine.error().find("layer") != std::string::npos);
}

TEST("when the memory for lsh tables is used up, only the sequence that asks for more fails") {
  Config config = tiny::sampling_config();
  config.lsh_tokens = 3000;
  SampledEngine engine(config);
  const int32_t first = engine.filled(), second = engine.filled(), third = engine.filled();
  const Asked lsh{.attention = SOUNDER_ATTENTION_LSH, .from = kPrompt};
  CHECK(engine.attend(first, lsh, engine.query(1)).status == SOUNDER_OK);
  tiny::StepResult result = engine.step({tiny::asking(Sequence{second, {1}}, lsh), Sequence{third, {1}}});
  CHECK(result.statuses[0] == SOUNDER_OUT_OF_MEMORY && engine.length(second) == tiny::kPrompt);
  CHECK(result.statuses[1] == SOUNDER_OK && engine.length(third) == tiny::kPrompt + 1);
  sounder_context_free(engine.handle(), first);
  CHECK(engine.step({tiny::asking(Sequence{second, {1}}, lsh)}).statuses[0] == SOUNDER_OK);
}
