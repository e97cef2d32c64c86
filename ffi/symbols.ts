// SPDX-License-Identifier: Apache-2.0
// Generated from native/include/sounder.h by `deno task bindings`. Do not edit.

export const ABI_VERSION = 10;
export const OK = 0;
export const INVALID = -1;
export const BUSY = -2;
export const OUT_OF_BLOCKS = -3;
export const OUT_OF_MEMORY = -4;
export const UNKNOWN_CONTEXT = -5;
export const CANCELLED = -6;
export const IO = -7;
export const INTERNAL = -8;
export const NOT_LOADED = -9;
export const CONTEXT_FULL = -10;
export const NOT_FINITE = -11;
export const NO_TOKEN = -12;
export const LOST = -13;
export const CONFIG_LAYERS = 0;
export const CONFIG_HIDDEN = 1;
export const CONFIG_INTERMEDIATE = 2;
export const CONFIG_HEADS = 3;
export const CONFIG_KV_HEADS = 4;
export const CONFIG_HEAD_DIM = 5;
export const CONFIG_VOCABULARY = 6;
export const CONFIG_CONTEXT = 7;
export const CONFIG_SLIDING_WINDOW = 8;
export const CONFIG_TIED_OUTPUT = 9;
export const CONFIG_QKV_BIAS = 10;
export const CONFIG_QK_NORM = 11;
export const CONFIG_ROPE_DIMS = 12;
export const CONFIG_PRECISION = 13;
export const CONFIG_THREADS = 14;
export const CONFIG_KV_BLOCKS = 15;
export const CONFIG_MAX_CONTEXTS = 16;
export const CONFIG_MAX_STEP_TOKENS = 17;
export const CONFIG_MAX_STEP_SEQUENCES = 18;
export const CONFIG_DUMMY_SEED = 19;
export const CONFIG_DETERMINISTIC = 20;
export const CONFIG_SINK = 21;
export const CONFIG_WINDOW = 22;
export const CONFIG_INDEX_SEED = 23;
export const CONFIG_SKETCH_BITS = 24;
export const CONFIG_SKETCH_CENTRING = 25;
export const CONFIG_LSH_BITS = 26;
export const CONFIG_LSH_TABLES = 27;
export const CONFIG_LSH_CENTRING = 28;
export const CONFIG_LSH_TOKENS = 29;
export const CONFIG_QUEST_PAGE = 30;
export const CONFIG_YARDSTICKS = 31;
export const CONFIG_DENSE_LAYERS = 32;
export const CONFIG_LEAST_ROWS = 33;
export const CONFIG_DEVICE = 34;
export const CONFIG_HOST_LAYERS = 35;
export const CONFIG_HOST_ATTENTION = 36;
export const CONFIG_INT_COUNT = 37;
export const HOST_ATTENTION_GPU = 0;
export const HOST_ATTENTION_CPU = 1;
export const HOST_ATTENTION_SPLIT = 2;
export const HOST_ATTENTION_COUNT = 3;
export const DEVICE_CPU = -1;
export const CENTRING_BLOCK = 0;
export const CENTRING_CONTEXT = 1;
export const CENTRING_OFF = 2;
export const ATTENTION_FULL = 0;
export const ATTENTION_SKETCH = 1;
export const ATTENTION_LSH = 2;
export const ATTENTION_QUEST = 3;
export const ATTENTION_TOPK = 4;
export const ATTENTION_ORACLE = 5;
export const ATTENTION_COUNT = 6;
export const CONFIG_NORM_EPSILON = 0;
export const CONFIG_ROPE_SCALE = 1;
export const CONFIG_FLOAT_COUNT = 2;
export const PRECISION_BF16 = 0;
export const PRECISION_F32 = 1;
export const ROLE_EMBEDDING = 0;
export const ROLE_OUTPUT = 1;
export const ROLE_FINAL_NORM = 2;
export const ROLE_ATTENTION_NORM = 3;
export const ROLE_Q = 4;
export const ROLE_K = 5;
export const ROLE_V = 6;
export const ROLE_Q_BIAS = 7;
export const ROLE_K_BIAS = 8;
export const ROLE_V_BIAS = 9;
export const ROLE_Q_NORM = 10;
export const ROLE_K_NORM = 11;
export const ROLE_ATTENTION_OUTPUT = 12;
export const ROLE_FEED_FORWARD_NORM = 13;
export const ROLE_GATE = 14;
export const ROLE_UP = 15;
export const ROLE_DOWN = 16;
export const ROLE_COUNT = 17;
export const TYPE_F32 = 0;
export const TYPE_F16 = 1;
export const TYPE_BF16 = 2;
export const TYPE_Q8_0 = 3;
export const TYPE_Q4_0 = 4;
export const TYPE_Q4_1 = 5;
export const TYPE_Q4_K = 6;
export const TYPE_Q5_K = 7;
export const TYPE_Q6_K = 8;
export const TYPE_COUNT = 9;
export const NO_FILE = -1;
export const STEP_SAMPLE = 0;
export const STEP_TOP_K = 1;
export const STEP_SEED_LOW = 2;
export const STEP_SEED_HIGH = 3;
export const STEP_CHOICE = 4;
export const STEP_PROMPT_TOKENS = 5;
export const STEP_ALTERNATIVES = 6;
export const STEP_BIAS_START = 7;
export const STEP_BIAS_COUNT = 8;
export const STEP_ALLOWED_ROW = 9;
export const STEP_SCORE = 10;
export const STEP_NEXT_TOKEN = 11;
export const STEP_ATTENTION = 12;
export const STEP_SAMPLED_FROM = 13;
export const STEP_ATTENTION_SEED_LOW = 14;
export const STEP_ATTENTION_SEED_HIGH = 15;
export const STEP_COLLISIONS = 16;
export const STEP_DRAWS = 17;
export const STEP_VERIFY = 18;
export const STEP_HIDDEN = 19;
export const STEP_STAGES = 20;
export const STEP_INT_COUNT = 21;
export const STEP_TEMPERATURE = 0;
export const STEP_TOP_P = 1;
export const STEP_MIN_P = 2;
export const STEP_REPETITION_PENALTY = 3;
export const STEP_PRESENCE_PENALTY = 4;
export const STEP_FREQUENCY_PENALTY = 5;
export const STEP_BUDGET = 6;
export const STEP_BETA = 7;
export const STEP_FLOAT_COUNT = 8;
export const MAX_ALTERNATIVES = 20;
export const LAST_SAMPLED = -1;
export const STATISTIC_KEYS_READ = 0;
export const STATISTIC_KEYS_TOTAL = 1;
export const STATISTIC_OFFLOADED = 2;
export const STATISTIC_CHOSEN_KEYS = 3;
export const STATISTIC_CHOSEN_ROWS = 4;
export const STATISTIC_EFFECTIVE_SAMPLES = 5;
export const STATISTIC_STANDARD_ERROR = 6;
export const STATISTIC_VERIFY_ERROR = 7;
export const STATISTIC_COUNT = 8;
export const STAGE_TOTAL = 0;
export const STAGE_MATMUL = 1;
export const STAGE_ATTENTION = 2;
export const STAGE_OUTPUT = 3;
export const STAGE_SAMPLING = 4;
export const STAGE_OTHER = 5;
export const STAGE_CHOOSING = 6;
export const STAGE_COUNT = 7;
export const INFO_KV_BLOCKS = 0;
export const INFO_KV_BLOCKS_FREE = 1;
export const INFO_CONTEXTS = 2;
export const INFO_THREADS = 3;
export const INFO_WEIGHT_BYTES = 4;
export const INFO_BLOCK_BYTES = 5;
export const INFO_WORKSPACE_BYTES = 6;
export const INFO_COUNT = 7;
export const PLAN_WEIGHT_BYTES = 0;
export const PLAN_BLOCK_BYTES = 1;
export const PLAN_KV_BYTES = 2;
export const PLAN_WORKSPACE_BYTES = 3;
export const PLAN_INDEX_BYTES = 4;
export const PLAN_LSH_BYTES = 5;
export const PLAN_HOST_KV_BYTES = 6;
export const PLAN_HOST_WORKSPACE_BYTES = 7;
export const PLAN_COUNT = 8;
export const SAVED_TOKENS = 0;
export const SAVED_EXACT = 1;
export const SAVED_NOTE_BYTES = 2;
export const SAVED_FILE_BYTES = 3;
export const SAVED_COUNT = 4;
export const IDENTITY_BYTES = 64;
export const MAX_NOTE_BYTES = 4096;
export const BLOCK_TOKENS = 128;
export const CAPTURE_EMBEDDING = 0;
export const CAPTURE_ATTENTION_NORM = 1;
export const CAPTURE_Q = 2;
export const CAPTURE_K = 3;
export const CAPTURE_V = 4;
export const CAPTURE_ATTENTION = 5;
export const CAPTURE_LAYER = 6;
export const CAPTURE_FINAL_NORM = 7;
export const CAPTURE_LOGITS = 8;
export const CAPTURE_COUNT = 9;
export const MACHINE_MEMORY_TOTAL = 0;
export const MACHINE_MEMORY_AVAILABLE = 1;
export const MACHINE_CORES = 2;
export const MACHINE_COUNT = 3;
export const DEVICE_MEMORY_TOTAL = 0;
export const DEVICE_MEMORY_FREE = 1;
export const DEVICE_COUNT = 2;

export const SYMBOLS = {
  sounder_abi_version: { parameters: [], result: "i32" },
  sounder_create: { parameters: [], result: "pointer" },
  sounder_close: { parameters: [/* engine */ "pointer"], result: "void" },
  sounder_error_text: {
    parameters: [/* engine */ "pointer", /* text */ "buffer", /* capacity */ "i32"],
    result: "i32",
  },
  sounder_configure: {
    parameters: [
      /* engine */ "pointer",
      /* ints */ "buffer",
      /* int_count */ "i32",
      /* floats */ "buffer",
      /* float_count */ "i32",
      /* rope_frequencies */ "buffer",
      /* frequency_count */ "i32",
    ],
    result: "i32",
  },
  sounder_dense_layers: {
    parameters: [/* engine */ "pointer", /* layers */ "buffer", /* count */ "i32"],
    result: "i32",
  },
  sounder_add_file: {
    parameters: [/* engine */ "pointer", /* path */ "buffer", /* path_bytes */ "i32"],
    result: "i32",
  },
  sounder_add_tensors: {
    parameters: [
      /* engine */ "pointer",
      /* count */ "i32",
      /* roles */ "buffer",
      /* layers */ "buffer",
      /* files */ "buffer",
      /* types */ "buffer",
      /* rows */ "buffer",
      /* columns */ "buffer",
      /* interleaved_heads */ "buffer",
      /* offsets */ "buffer",
    ],
    result: "i32",
  },
  sounder_load: { parameters: [/* engine */ "pointer"], result: "i32", nonblocking: true },
  sounder_load_progress: { parameters: [/* engine */ "pointer"], result: "i32" },
  sounder_stop: { parameters: [/* engine */ "pointer"], result: "i32" },
  sounder_info_figures: {
    parameters: [/* engine */ "pointer", /* figures */ "buffer", /* count */ "i32"],
    result: "i32",
  },
  sounder_info_text: {
    parameters: [/* engine */ "pointer", /* text */ "buffer", /* capacity */ "i32"],
    result: "i32",
  },
  sounder_plan_memory: {
    parameters: [
      /* ints */ "buffer",
      /* int_count */ "i32",
      /* figures */ "buffer",
      /* figure_count */ "i32",
    ],
    result: "i32",
  },
  sounder_machine_figures: {
    parameters: [/* figures */ "buffer", /* count */ "i32"],
    result: "i32",
  },
  sounder_device_figures: {
    parameters: [
      /* engine */ "pointer",
      /* device */ "i32",
      /* figures */ "buffer",
      /* count */ "i32",
    ],
    result: "i32",
  },
  sounder_context_create: { parameters: [/* engine */ "pointer"], result: "i32" },
  sounder_context_fork: {
    parameters: [/* engine */ "pointer", /* context */ "i32", /* tokens */ "i32"],
    result: "i32",
  },
  sounder_context_truncate: {
    parameters: [/* engine */ "pointer", /* context */ "i32", /* tokens */ "i32"],
    result: "i32",
  },
  sounder_context_free: {
    parameters: [/* engine */ "pointer", /* context */ "i32"],
    result: "i32",
  },
  sounder_context_length: {
    parameters: [/* engine */ "pointer", /* context */ "i32"],
    result: "i32",
  },
  sounder_context_exact: {
    parameters: [/* engine */ "pointer", /* context */ "i32"],
    result: "i32",
  },
  sounder_context_save: {
    parameters: [
      /* engine */ "pointer",
      /* context */ "i32",
      /* tokens */ "i32",
      /* path */ "buffer",
      /* path_bytes */ "i32",
      /* identity */ "buffer",
      /* note */ "buffer",
      /* note_bytes */ "i32",
    ],
    result: "i32",
    nonblocking: true,
  },
  sounder_context_restore: {
    parameters: [
      /* engine */ "pointer",
      /* tokens */ "i32",
      /* path */ "buffer",
      /* path_bytes */ "i32",
      /* identity */ "buffer",
    ],
    result: "i32",
    nonblocking: true,
  },
  sounder_saved_describe: {
    parameters: [
      /* engine */ "pointer",
      /* path */ "buffer",
      /* path_bytes */ "i32",
      /* identity */ "buffer",
      /* figures */ "buffer",
      /* figure_count */ "i32",
      /* note */ "buffer",
      /* note_capacity */ "i32",
      /* tokens */ "buffer",
      /* token_capacity */ "i32",
    ],
    result: "i32",
    nonblocking: true,
  },
  sounder_transfer_cancel: { parameters: [/* engine */ "pointer"], result: "i32" },
  sounder_transfer_progress: { parameters: [/* engine */ "pointer"], result: "i32" },
  sounder_step: {
    parameters: [
      /* engine */ "pointer",
      /* sequences */ "i32",
      /* contexts */ "buffer",
      /* token_counts */ "buffer",
      /* tokens */ "buffer",
      /* ints */ "buffer",
      /* floats */ "buffer",
      /* bias_tokens */ "buffer",
      /* bias_values */ "buffer",
      /* bias_count */ "i32",
      /* allowed_tokens */ "buffer",
      /* allowed_rows */ "i32",
      /* statuses */ "buffer",
      /* sampled */ "buffer",
      /* sampled_logprobs */ "buffer",
      /* top_tokens */ "buffer",
      /* top_logprobs */ "buffer",
      /* given_logprobs */ "buffer",
      /* given_top_tokens */ "buffer",
      /* given_top_logprobs */ "buffer",
      /* statistics */ "buffer",
      /* stage_ms */ "buffer",
    ],
    result: "i32",
    nonblocking: true,
  },
  sounder_step_hidden: {
    parameters: [
      /* engine */ "pointer",
      /* sequence */ "i32",
      /* values */ "buffer",
      /* capacity */ "i32",
    ],
    result: "i32",
  },
  sounder_cancel: { parameters: [/* engine */ "pointer", /* context */ "i32"], result: "i32" },
  sounder_progress: { parameters: [/* engine */ "pointer", /* context */ "i32"], result: "i32" },
  sounder_capture_enable: {
    parameters: [/* engine */ "pointer", /* enabled */ "i32"],
    result: "i32",
  },
  sounder_capture_read: {
    parameters: [
      /* engine */ "pointer",
      /* what */ "i32",
      /* layer */ "i32",
      /* values */ "buffer",
      /* capacity */ "i32",
    ],
    result: "i32",
  },
  sounder_attend: {
    parameters: [
      /* engine */ "pointer",
      /* context */ "i32",
      /* layer */ "i32",
      /* ints */ "buffer",
      /* floats */ "buffer",
      /* q */ "buffer",
      /* output */ "buffer",
      /* statistics */ "buffer",
      /* scores */ "buffer",
    ],
    result: "i32",
    nonblocking: true,
  },
  sounder_context_fill: {
    parameters: [/* engine */ "pointer", /* context */ "i32", /* tokens */ "i32", /* seed */ "i32"],
    result: "i32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;
