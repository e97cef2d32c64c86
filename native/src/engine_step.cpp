// SPDX-License-Identifier: Apache-2.0
//
// One step: contexts are taken, their tokens computed, tokens chosen, and the contexts given back longer or
// as they were.
#include <algorithm>

#include "engine.h"
#include "failure.h"
#include "sounder.h"

namespace sounder {

namespace {
constexpr char kNotFinite[] = "Its logits have a value that is NaN or infinite.";
}

class StepRun {
 public:
  StepRun(Engine &engine, const StepCall &call)
      : engine_(engine),
        model_(*engine.loaded_),
        call_(call),
        tokens_(check_step_call(model_.config, call)),
        requests_(static_cast<size_t>(call.sequences)),
        held_(static_cast<size_t>(call.sequences)),
        hidden_(static_cast<size_t>(call.sequences)) {
    batch_.sequences.reserve(static_cast<size_t>(call.sequences));
    batch_.tokens.assign(call.tokens, call.tokens + tokens_);
    batch_.stop = &engine.thread_.stop_flag();
    batch_.thousandths = &engine.step_thousandths_;
    clear_outputs(call, tokens_);
  }

  // What was not committed was not to be, or something threw: it is as before.
  ~StepRun() {
    std::lock_guard lock(engine_.mutex_);
    for (Context *context : held_) {
      if (context != nullptr) model_.contexts.roll_back(*context);
    }
  }

  std::string run() {
    take_contexts();
    if (!batch_.sequences.empty()) {
      model_.forward->run(
          batch_, [this](const float *logits, int first, int count) { use_logits(logits, first, count); });
    }
    take_chosen();
    give_back();
    batch_.clock.write(call_.stage_ms);
    return problem_;
  }

 private:
  void set_failure(int sequence, int32_t status, const char *sentence) {
    call_.statuses[sequence] = status;
    problem_ = formatted("Context %d: %s", call_.contexts[sequence], sentence);
  }

  void take_contexts() {
    std::lock_guard lock(engine_.mutex_);
    engine_.step_thousandths_.store(0);
    if (engine_.capture_enabled_) capture_ = std::make_shared<Capture>(model_.config, tokens_);
    batch_.capture = capture_.get();
    int first_token = 0;
    for (int s = 0; s < call_.sequences; ++s) {
      try {
        take_context(s, first_token);
      } catch (const Failure &failure) {
        if (failure.status() == SOUNDER_LOST) throw;
        set_failure(s, failure.status(), failure.what());
      }
      first_token += call_.token_counts[s];
    }
  }

  void take_context(int s, int first_token) {
    Context &context = model_.contexts.find(call_.contexts[s]);
    int count = call_.token_counts[s];
    requests_[s] = read_request(model_.config, call_, s);
    resolve_tokens(context, batch_.tokens.data() + first_token, count);
    int position = static_cast<int>(context.tokens.size());
    model_.contexts.begin(context, count);
    held_[s] = &context;
    BatchSequence sequence{s,
                           first_token,
                           count,
                           position,
                           context.blocks.data(),
                           &context.cancel,
                           requests_[s].sample,
                           requests_[s].score,
                           requests_[s].attention,
                           nullptr,
                           0,
                           hidden_of(s)};
    sequence.context = call_.contexts[s];
    batch_.tells_stages = batch_.tells_stages || requests_[s].stages;
    if (sequence.sample && !sequence.score && requests_[s].alternatives == 0)
      sequence.choice = plain_choice(requests_[s].sampling);
    if (sequence.params.attention == SOUNDER_ATTENTION_LSH) plan_lsh(context, sequence);
    batch_.sequences.push_back(std::move(sequence));
  }

  // Where the sum of its hidden states goes; nullptr when it wants none.
  float *hidden_of(int s) {
    if (!requests_[s].hidden) return nullptr;
    hidden_[s].assign(static_cast<size_t>(model_.config.hidden), 0.0f);
    return hidden_[s].data();
  }

  // What comes before sampled_from is prompt. A context of few keys is exact: tables are large
  // for few keys, and would be most of the memory where contexts are many and short.
  void plan_lsh(Context &context, BatchSequence &sequence) {
    sequence.lsh = &model_.contexts.lsh_of(context);
    sequence.lsh_until = sequence.lsh->target(sequence.position + sequence.count,
                                              sequence.params.sampled_from, model_.config.window);
    if (sequence.lsh_until < kLshTailKeys) sequence.lsh_until = sequence.lsh->covered();
  }

  void resolve_tokens(const Context &context, int32_t *tokens, int count) const {
    if (tokens[0] == SOUNDER_LAST_SAMPLED) {
      if (context.last_sampled < 0) {
        fail(SOUNDER_INVALID,
             "Its first new token is the last sampled one, but none was sampled after its end.");
      }
      tokens[0] = context.last_sampled;
    }
    for (int i = 0; i < count; ++i) {
      if (tokens[i] < 0 || tokens[i] >= model_.config.vocabulary) {
        fail(SOUNDER_INVALID, "New token %d is %d; the vocabulary has the tokens 0 to %d.", i, tokens[i],
             model_.config.vocabulary - 1);
      }
    }
  }

  // Rows are independent: each thread takes some. What a row finds wrong is written down in its own place.
  void use_logits(const float *logits, int first, int count) {
    row_statuses_.assign(static_cast<size_t>(count), SOUNDER_OK);
    auto body = [&](int row, int thread) {
      row_statuses_[row] = use_row(logits + int64_t{row} * model_.config.vocabulary, first + row, thread);
    };
    model_.team.run(count, body);
    for (int row = 0; row < count; ++row) {
      int s = batch_.sequences[batch_.row_sequence[first + row]].index;
      if (row_statuses_[row] == SOUNDER_OK || call_.statuses[s] != SOUNDER_OK) continue;
      set_failure(s, row_statuses_[row],
                  row_statuses_[row] == SOUNDER_NOT_FINITE ? kNotFinite : "Its mask allows no token.");
    }
  }

  // What the forward found itself.
  void take_chosen() {
    for (const BatchSequence &sequence : batch_.sequences) {
      if (!sequence.chosen || sequence.cancelled) continue;
      const int s = sequence.index;
      if (sequence.chosen->token < 0) {
        set_failure(s, SOUNDER_NOT_FINITE, kNotFinite);
        continue;
      }
      call_.sampled[s] = sequence.chosen->token;
      call_.sampled_logprobs[s] = sequence.chosen->logprob;
    }
  }

  int32_t use_row(const float *logits, int row, int thread) {
    const BatchSequence &sequence = batch_.sequences[batch_.row_sequence[row]];
    int token = batch_.row_token[row], s = sequence.index;
    bool last = token == sequence.first_token + sequence.count - 1;
    if (sequence.cancelled || sequence.chosen || !sequence.wants_logits(token)) return SOUNDER_OK;
    double log_sum;
    if (!model_.sampler.log_sum_exp(logits, &log_sum)) return SOUNDER_NOT_FINITE;
    const StepRequest &request = requests_[s];
    if (sequence.score) score(logits, log_sum, request, token, last, thread);
    if (!(sequence.sample && last)) return SOUNDER_OK;

    const std::vector<int32_t> &context_tokens = held_[s]->tokens;
    TokenHistory history{context_tokens.data(), static_cast<int>(context_tokens.size()),
                         batch_.tokens.data() + sequence.first_token, sequence.count};
    int32_t chosen = model_.sampler.choose(logits, request.sampling, history, thread);
    if (chosen < 0) return SOUNDER_NO_TOKEN;
    call_.sampled[s] = chosen;
    call_.sampled_logprobs[s] = static_cast<float>(logits[chosen] - log_sum);
    model_.sampler.most_likely(logits, log_sum, request.alternatives, thread,
                               call_.top_tokens + int64_t{s} * SOUNDER_MAX_ALTERNATIVES,
                               call_.top_logprobs + int64_t{s} * SOUNDER_MAX_ALTERNATIVES);
    return SOUNDER_OK;
  }

  void score(const float *logits, double log_sum, const StepRequest &request, int token, bool last,
             int thread) {
    int32_t next = last ? request.next_token : batch_.tokens[token + 1];
    if (next >= 0) call_.given_logprobs[token] = static_cast<float>(logits[next] - log_sum);
    if (call_.given_top_tokens == nullptr || call_.given_top_logprobs == nullptr) return;
    model_.sampler.most_likely(logits, log_sum, request.alternatives, thread,
                               call_.given_top_tokens + int64_t{token} * SOUNDER_MAX_ALTERNATIVES,
                               call_.given_top_logprobs + int64_t{token} * SOUNDER_MAX_ALTERNATIVES);
  }

  void give_back() {
    std::lock_guard lock(engine_.mutex_);
    for (const BatchSequence &sequence : batch_.sequences) {
      int s = sequence.index;
      if (sequence.failure != SOUNDER_OK)
        set_failure(s, sequence.failure, sequence.problem.c_str());
      else if (sequence.cancelled)
        set_failure(s, SOUNDER_CANCELLED, "It was cancelled.");
      else if (sequence.hidden != nullptr && sequence.hidden_tokens != sequence.count)
        set_failure(s, SOUNDER_INVALID, "Hidden states are not to be had on this device.");
      if (call_.statuses[s] != SOUNDER_OK) {
        call_.sampled[s] = -1;
        hidden_[s].clear();
        continue;
      }
      model_.contexts.commit(*held_[s], batch_.tokens.data() + sequence.first_token, sequence.count,
                             call_.sampled[s], sequence.sampled_from);
      held_[s] = nullptr;
      write_statistics(sequence.position + sequence.count, model_.config.sliding_window, model_.config.layers,
                       sequence.params, sequence.statistics,
                       call_.statistics + int64_t{s} * SOUNDER_STATISTIC_COUNT);
    }
    engine_.hidden_ = std::move(hidden_);
    if (engine_.capture_enabled_) engine_.capture_ = capture_;
  }

  Engine &engine_;
  LoadedModel &model_;
  const StepCall &call_;
  const int tokens_;
  Batch batch_;
  std::vector<StepRequest> requests_;  // by sequence of the call
  std::vector<Context *> held_;        // by sequence of the call: contexts that wait for commit or roll back
  std::vector<std::vector<float>> hidden_;  // by sequence of the call; empty where none was asked for
  std::vector<int32_t> row_statuses_;
  std::shared_ptr<Capture> capture_;
  std::string problem_;
};

std::string Engine::step(const StepCall &call) {
  std::string problem;
  {
    // Its threads wake up while this step is handed over, and rest while the host hands tokens on.
    std::lock_guard lock(mutex_);
    if (loaded_ != nullptr && (loaded_->device == nullptr || loaded_->config.cpu_samples()))
      loaded_->team.rouse();
  }
  run_alone([&] {
    {
      std::lock_guard lock(mutex_);
      loaded();
    }
    problem = StepRun(*this, call).run();
    loaded_->team.rest();
  });
  return problem;
}

int32_t Engine::read_hidden(int32_t sequence, float *values, int32_t capacity) {
  if (capacity < 0 || (capacity > 0 && values == nullptr)) {
    fail(SOUNDER_INVALID, "The buffer for hidden states is missing.");
  }
  std::lock_guard lock(mutex_);
  if (sequence < 0 || size_t(sequence) >= hidden_.size() || hidden_[sequence].empty()) {
    fail(SOUNDER_INVALID, "Sequence %d of the last step has no hidden states.", sequence);
  }
  const std::vector<float> &sum = hidden_[sequence];
  std::copy_n(sum.begin(), std::min<size_t>(sum.size(), size_t(capacity)), values);
  return static_cast<int32_t>(sum.size());
}

}  // namespace sounder
