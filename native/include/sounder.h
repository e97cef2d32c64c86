/* SPDX-License-Identifier: Apache-2.0
 *
 * The ABI of libsounder: the only door between TypeScript (ffi/) and the native library.
 * ffi/symbols.ts is generated from this file: `deno task bindings`.
 *
 * Words
 *   engine    weights, threads and the memory pool for KV blocks.
 *   context   the KV cache of one token sequence, and its tokens. An int32 id with generation bits:
 *             a stale id is SOUNDER_UNKNOWN_CONTEXT, never another sequence's data.
 *   step      one forward pass over a batch of contexts: new tokens in, one sampled token a context out.
 *
 * Rules
 *   - Scalars are int32_t, uint32_t, float, and int64_t where a byte count needs it. Arrays belong to
 *     the caller and are only used during the call. Sizes of arrays stand in [brackets].
 *   - Calls that can fail return a status (0 is SOUNDER_OK, failures are negative); the sentence that
 *     says what went wrong is fetched with sounder_error_text from the same engine.
 *   - "blocking:" marks calls that the bindings run off the event loop (nonblocking: true in Deno).
 *     One of load, step, attend and fill runs at a time; a second one gets SOUNDER_BUSY. One transfer (save
 * or restore of a context) may run beside it, on the thread of its caller.
 *   - All other calls are short and may be made from any thread at any time. Changing a context that
 *     takes part in the running step gets SOUNDER_BUSY.
 *   - Bad input never aborts the process.
 */
#ifndef SOUNDER_H
#define SOUNDER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SOUNDER_API __attribute__((visibility("default")))
#else
#define SOUNDER_API
#endif

/* Raised by every incompatible change of this file. Checked when the library is opened. */
#define SOUNDER_ABI_VERSION 10

typedef struct sounder_engine sounder_engine;

/* ---- constants ------------------------------------------------------------------------------ */

enum sounder_status {
  SOUNDER_OK = 0,
  SOUNDER_INVALID = -1,         /* an argument, a model figure or a file is wrong: see the text */
  SOUNDER_BUSY = -2,            /* another blocking call runs, or the context is in its step */
  SOUNDER_OUT_OF_BLOCKS = -3,   /* no KV block is free; the context is as it was before the step */
  SOUNDER_OUT_OF_MEMORY = -4,   /* the system refused memory */
  SOUNDER_UNKNOWN_CONTEXT = -5, /* freed, or never created */
  SOUNDER_CANCELLED = -6,       /* sounder_cancel was called; the context is as it was before the step */
  SOUNDER_IO = -7,              /* a file could not be read or written */
  SOUNDER_INTERNAL = -8,        /* a bug: please report the text */
  SOUNDER_NOT_LOADED = -9,      /* the engine has no weights yet */
  SOUNDER_CONTEXT_FULL = -10,   /* the step would pass the model's longest context */
  SOUNDER_NOT_FINITE = -11,     /* the logits of this context contain NaN or infinity */
  SOUNDER_NO_TOKEN = -12,       /* the row of allowed_tokens of this context allows none */
  SOUNDER_LOST = -13            /* the GPU failed for good: only another process can use it */
};

/* Figures of a model and of its engine, as one array of int32 indexed by this enum. */
enum sounder_config_int {
  SOUNDER_CONFIG_LAYERS = 0,
  SOUNDER_CONFIG_HIDDEN = 1,              /* width of the residual stream */
  SOUNDER_CONFIG_INTERMEDIATE = 2,        /* width of the feed-forward layer */
  SOUNDER_CONFIG_HEADS = 3,               /* query heads */
  SOUNDER_CONFIG_KV_HEADS = 4,            /* divides HEADS */
  SOUNDER_CONFIG_HEAD_DIM = 5,            /* even, at most 256 */
  SOUNDER_CONFIG_VOCABULARY = 6,          /* rows of the embedding */
  SOUNDER_CONFIG_CONTEXT = 7,             /* longest context in tokens that a step accepts */
  SOUNDER_CONFIG_SLIDING_WINDOW = 8,      /* 0: none; w: a token attends itself and the w - 1 before it */
  SOUNDER_CONFIG_TIED_OUTPUT = 9,         /* 1: the output projection is the embedding */
  SOUNDER_CONFIG_QKV_BIAS = 10,           /* 1: q, k and v have biases */
  SOUNDER_CONFIG_QK_NORM = 11,            /* 1: RMSNorm on q and k per head, before RoPE */
  SOUNDER_CONFIG_ROPE_DIMS = 12,          /* rotated dimensions of a head, even, at most HEAD_DIM */
  SOUNDER_CONFIG_PRECISION = 13,          /* enum sounder_precision */
  SOUNDER_CONFIG_THREADS = 14,            /* 0: one for each physical core that this process may use */
  SOUNDER_CONFIG_KV_BLOCKS = 15,          /* capacity of the KV pool, in blocks */
  SOUNDER_CONFIG_MAX_CONTEXTS = 16,       /* contexts that may exist at once */
  SOUNDER_CONFIG_MAX_STEP_TOKENS = 17,    /* tokens that one step accepts over all its contexts */
  SOUNDER_CONFIG_MAX_STEP_SEQUENCES = 18, /* contexts that one step accepts */
  SOUNDER_CONFIG_DUMMY_SEED = 19,         /* seeds tensors whose file is SOUNDER_NO_FILE */
  SOUNDER_CONFIG_DETERMINISTIC = 20,      /* 1: results are bitwise equal whatever else is in the batch */
  SOUNDER_CONFIG_SINK = 21,               /* first tokens that sampled attention always reads */
  SOUNDER_CONFIG_WINDOW = 22,             /* last tokens that it always reads, at least */
  SOUNDER_CONFIG_INDEX_SEED = 23,         /* seeds the rotation and the hash functions */
  SOUNDER_CONFIG_SKETCH_BITS = 24,     /* sketch index in each block: 0 (none), 1, 2 or 4 bits a dimension */
  SOUNDER_CONFIG_SKETCH_CENTRING = 25, /* enum sounder_centring */
  SOUNDER_CONFIG_LSH_BITS = 26,        /* K of the lsh tables of each context, 1 to 15; 0: none */
  SOUNDER_CONFIG_LSH_TABLES = 27,      /* L, 1 to 1000 */
  SOUNDER_CONFIG_LSH_CENTRING = 28,    /* enum sounder_centring, context or off */
  SOUNDER_CONFIG_LSH_TOKENS = 29,      /* tokens that lsh tables of all contexts may cover together */
  SOUNDER_CONFIG_QUEST_PAGE = 30,      /* bounds of pages in each block: 0 (none), 16, 32 or 64 tokens */
  SOUNDER_CONFIG_YARDSTICKS = 31,      /* 1: topk and oracle may be asked for (they read every key) */
  SOUNDER_CONFIG_DENSE_LAYERS = 32,    /* how many layers never sample: the first ones, unless
                                        * sounder_dense_layers names others */
  SOUNDER_CONFIG_LEAST_ROWS = 33,      /* rows that a sampling KV head reads at least (default: 256) */
  SOUNDER_CONFIG_DEVICE = 34,          /* SOUNDER_DEVICE_CPU, or the index of a GPU: weights, KV and a step's
                                        * activations lie in its memory. Not DETERMINISTIC there; sampling
                                        * for head dims that are multiples of 8, in bfloat16. */
  SOUNDER_CONFIG_HOST_LAYERS = 35,     /* on a GPU: layers whose KV lies in pinned host memory, the sampling
                                        * ones first, each kind from the last layer down */
  SOUNDER_CONFIG_HOST_ATTENTION = 36,  /* enum sounder_host_attention */
  SOUNDER_CONFIG_INT_COUNT = 37
};

/* On a GPU: who attends the rows that sample, at layers whose KV lies in host memory. */
enum sounder_host_attention {
  SOUNDER_HOST_ATTENTION_GPU = 0,
  SOUNDER_HOST_ATTENTION_CPU = 1,   /* with any strategy; the index of these layers lies in host memory */
  SOUNDER_HOST_ATTENTION_SPLIT = 2, /* each some of the KV heads; the index lies in both memories */
  SOUNDER_HOST_ATTENTION_COUNT = 3
};

#define SOUNDER_DEVICE_CPU -1

/* What keys are centred on before they are sketched or hashed. */
enum sounder_centring {
  SOUNDER_CENTRING_BLOCK = 0,   /* the mean of their block */
  SOUNDER_CENTRING_CONTEXT = 1, /* the mean of the context's keys so far */
  SOUNDER_CENTRING_OFF = 2
};

/* How the new tokens of a step attend. */
enum sounder_attention {
  SOUNDER_ATTENTION_FULL = 0,
  SOUNDER_ATTENTION_SKETCH = 1, /* Poisson sampling by sketched scores */
  SOUNDER_ATTENTION_LSH = 2,    /* MagicPIG: keys that share the query's code in enough tables */
  SOUNDER_ATTENTION_QUEST = 3,  /* pages with the best bounds */
  SOUNDER_ATTENTION_TOPK = 4,   /* the best keys by their true scores */
  SOUNDER_ATTENTION_ORACLE = 5, /* sampling with the true scores */
  SOUNDER_ATTENTION_COUNT = 6
};

/* The same for floats. */
enum sounder_config_float {
  SOUNDER_CONFIG_NORM_EPSILON = 0,
  SOUNDER_CONFIG_ROPE_SCALE = 1, /* factor on cos and sin (YaRN's attention factor), 1 otherwise */
  SOUNDER_CONFIG_FLOAT_COUNT = 2
};

enum sounder_precision {
  SOUNDER_PRECISION_BF16 = 0, /* weights and KV in bfloat16, sums in float32 */
  SOUNDER_PRECISION_F32 = 1   /* weights and KV in float32: for tests */
};

/* Which tensor of the model. Matrices are [rows, columns] = [outputs, inputs], row-major. */
enum sounder_role {
  SOUNDER_ROLE_EMBEDDING = 0,      /* [vocabulary, hidden] */
  SOUNDER_ROLE_OUTPUT = 1,         /* [vocabulary, hidden], absent when tied */
  SOUNDER_ROLE_FINAL_NORM = 2,     /* [1, hidden] */
  SOUNDER_ROLE_ATTENTION_NORM = 3, /* [1, hidden] */
  SOUNDER_ROLE_Q = 4,              /* [heads * head_dim, hidden] */
  SOUNDER_ROLE_K = 5,              /* [kv_heads * head_dim, hidden] */
  SOUNDER_ROLE_V = 6,              /* [kv_heads * head_dim, hidden] */
  SOUNDER_ROLE_Q_BIAS = 7,         /* [1, heads * head_dim] */
  SOUNDER_ROLE_K_BIAS = 8,
  SOUNDER_ROLE_V_BIAS = 9,
  SOUNDER_ROLE_Q_NORM = 10,            /* [1, head_dim] */
  SOUNDER_ROLE_K_NORM = 11,            /* [1, head_dim] */
  SOUNDER_ROLE_ATTENTION_OUTPUT = 12,  /* [hidden, heads * head_dim] */
  SOUNDER_ROLE_FEED_FORWARD_NORM = 13, /* [1, hidden] */
  SOUNDER_ROLE_GATE = 14,              /* [intermediate, hidden] */
  SOUNDER_ROLE_UP = 15,                /* [intermediate, hidden] */
  SOUNDER_ROLE_DOWN = 16,              /* [hidden, intermediate] */
  SOUNDER_ROLE_COUNT = 17
};

/* How a tensor's values lie in its file. The quantised ones are GGUF's blocks. */
enum sounder_type {
  SOUNDER_TYPE_F32 = 0,
  SOUNDER_TYPE_F16 = 1,
  SOUNDER_TYPE_BF16 = 2,
  SOUNDER_TYPE_Q8_0 = 3,
  SOUNDER_TYPE_Q4_0 = 4,
  SOUNDER_TYPE_Q4_1 = 5,
  SOUNDER_TYPE_Q4_K = 6,
  SOUNDER_TYPE_Q5_K = 7,
  SOUNDER_TYPE_Q6_K = 8,
  SOUNDER_TYPE_COUNT = 9
};

/* File index of a tensor that comes from no file: seeded random values in its place. */
#define SOUNDER_NO_FILE -1

/* What one context asks of a step, as a row of int32 indexed by this enum. */
enum sounder_step_int {
  SOUNDER_STEP_SAMPLE = 0,   /* 1: sample a token after the last new one */
  SOUNDER_STEP_TOP_K = 1,    /* 0: off */
  SOUNDER_STEP_SEED_LOW = 2, /* the low and high half of a 64-bit seed */
  SOUNDER_STEP_SEED_HIGH = 3,
  SOUNDER_STEP_CHOICE = 4,        /* index of the choice (n > 1), part of every random draw */
  SOUNDER_STEP_PROMPT_TOKENS = 5, /* tokens before this position are the prompt (penalties) */
  SOUNDER_STEP_ALTERNATIVES = 6,  /* most likely tokens to report, 0..SOUNDER_MAX_ALTERNATIVES */
  SOUNDER_STEP_BIAS_START = 7,    /* this context's part of bias_tokens and bias_values */
  SOUNDER_STEP_BIAS_COUNT = 8,
  SOUNDER_STEP_ALLOWED_ROW = 9,         /* row of allowed_tokens, or -1: every token is allowed */
  SOUNDER_STEP_SCORE = 10,              /* 1: fill given_logprobs (and its alternatives) for the new tokens */
  SOUNDER_STEP_NEXT_TOKEN = 11,         /* the token known to follow the last new one, or -1 (scoring) */
  SOUNDER_STEP_ATTENTION = 12,          /* enum sounder_attention, of the tokens from SAMPLED_FROM on */
  SOUNDER_STEP_SAMPLED_FROM = 13,       /* position; new tokens before it attend exactly */
  SOUNDER_STEP_ATTENTION_SEED_LOW = 14, /* the low and high half of a 64-bit seed */
  SOUNDER_STEP_ATTENTION_SEED_HIGH = 15,
  SOUNDER_STEP_COLLISIONS = 16, /* lsh: tables that must agree, 1 to 3, at most all (the paper: 2) */
  SOUNDER_STEP_DRAWS = 17,      /* oracle: 0 for Poisson sampling, B for B independent draws */
  SOUNDER_STEP_VERIFY = 18,     /* 1: compute sampled attention exactly too, and report the difference */
  SOUNDER_STEP_HIDDEN = 19,     /* 1: add up the new tokens' hidden states: sounder_step_hidden */
  SOUNDER_STEP_STAGES = 20,     /* 1: of any context: a GPU tells the stages of the step apart, too, and takes
                                   longer for it */
  SOUNDER_STEP_INT_COUNT = 21
};

/* The same for floats. */
enum sounder_step_float {
  SOUNDER_STEP_TEMPERATURE = 0,        /* 0: greedy */
  SOUNDER_STEP_TOP_P = 1,              /* 1: off */
  SOUNDER_STEP_MIN_P = 2,              /* 0: off */
  SOUNDER_STEP_REPETITION_PENALTY = 3, /* 1: off; over prompt and generated tokens */
  SOUNDER_STEP_PRESENCE_PENALTY = 4,   /* 0: off; over generated tokens */
  SOUNDER_STEP_FREQUENCY_PENALTY = 5,  /* 0: off; over generated tokens */
  SOUNDER_STEP_BUDGET = 6,             /* expected share of a KV head's rows to read, over 0 to 1 */
  SOUNDER_STEP_BETA = 7,               /* sketch: exponent on the estimated probabilities, over 0 to 4 */
  SOUNDER_STEP_FLOAT_COUNT = 8
};

/* Most alternatives a step reports for a token: the row length of its alternatives arrays. */
#define SOUNDER_MAX_ALTERNATIVES 20

/* A token that is the one sampled last in its context. Only as the first new token of a step. */
#define SOUNDER_LAST_SAMPLED -1

/* What a step reports about each context, as a row of floats indexed by this enum. */
enum sounder_statistic {
  SOUNDER_STATISTIC_KEYS_READ = 0,  /* keys read by the last new token, mean over layers and heads */
  SOUNDER_STATISTIC_KEYS_TOTAL = 1, /* keys that full attention would have read for it */
  /* The rest is 0 when no layer sampled; means over the layers that did. */
  SOUNDER_STATISTIC_OFFLOADED = 2,   /* keys that the strategy had to choose from */
  SOUNDER_STATISTIC_CHOSEN_KEYS = 3, /* of these, read for a query head */
  SOUNDER_STATISTIC_CHOSEN_ROWS = 4, /* of these, read for a KV head */
  /* Independent draws from the true attention that would be as exact; infinity when nothing was left to
   * chance. */
  SOUNDER_STATISTIC_EFFECTIVE_SAMPLES = 5,
  SOUNDER_STATISTIC_STANDARD_ERROR = 6, /* of the attention output, relative, root of the mean square */
  SOUNDER_STATISTIC_VERIFY_ERROR = 7,   /* the true one of the same, -1: not verified */
  SOUNDER_STATISTIC_COUNT = 8
};

/* Time of a step by stage in milliseconds, indexed by this enum. On a GPU the forward is told apart where
 * SOUNDER_STEP_STAGES asks for it; else all of it is OTHER, but what the CPU attends, and its wait for that
 * (MATMUL). */
enum sounder_stage {
  SOUNDER_STAGE_TOTAL = 0,
  SOUNDER_STAGE_MATMUL = 1, /* all matrix products but the output projection */
  SOUNDER_STAGE_ATTENTION = 2,
  SOUNDER_STAGE_OUTPUT = 3, /* output projection */
  SOUNDER_STAGE_SAMPLING = 4,
  SOUNDER_STAGE_OTHER = 5,    /* norms, RoPE, KV append, activation */
  SOUNDER_STAGE_CHOOSING = 6, /* which rows sampled attention reads; on the CPU a part of ATTENTION */
  SOUNDER_STAGE_COUNT = 7
};

/* Figures of a running engine, as int64 indexed by this enum. */
enum sounder_info {
  SOUNDER_INFO_KV_BLOCKS = 0,
  SOUNDER_INFO_KV_BLOCKS_FREE = 1,
  SOUNDER_INFO_CONTEXTS = 2,
  SOUNDER_INFO_THREADS = 3,
  SOUNDER_INFO_WEIGHT_BYTES = 4,
  SOUNDER_INFO_BLOCK_BYTES = 5, /* one KV block over all layers */
  SOUNDER_INFO_WORKSPACE_BYTES = 6,
  SOUNDER_INFO_COUNT = 7
};

/* The memory formula, as int64 indexed by this enum. src/model/memory.ts states the same formula. */
enum sounder_plan {
  SOUNDER_PLAN_WEIGHT_BYTES = 0,
  SOUNDER_PLAN_BLOCK_BYTES = 1,          /* one KV block over all layers */
  SOUNDER_PLAN_KV_BYTES = 2,             /* KV_BLOCKS blocks */
  SOUNDER_PLAN_WORKSPACE_BYTES = 3,      /* activations of the largest step */
  SOUNDER_PLAN_INDEX_BYTES = 4,          /* the part of BLOCK_BYTES that is index */
  SOUNDER_PLAN_LSH_BYTES = 5,            /* lsh tables of LSH_TOKENS tokens, or a GPU's signatures */
  SOUNDER_PLAN_HOST_KV_BYTES = 6,        /* on a GPU: the part of KV_BYTES that lies in host memory */
  SOUNDER_PLAN_HOST_WORKSPACE_BYTES = 7, /* there: what the CPU works with, pinned memory included */
  SOUNDER_PLAN_COUNT = 8
};

/* What a saved context is, as int64 indexed by this enum. */
enum sounder_saved {
  SOUNDER_SAVED_TOKENS = 0,
  SOUNDER_SAVED_EXACT = 1, /* as sounder_context_exact */
  SOUNDER_SAVED_NOTE_BYTES = 2,
  SOUNDER_SAVED_FILE_BYTES = 3,
  SOUNDER_SAVED_COUNT = 4
};

/* Bytes of what tells a model and its tokenizer from others: a hash of 32 bytes of each. */
#define SOUNDER_IDENTITY_BYTES 64

/* Longest note of a saved context. */
#define SOUNDER_MAX_NOTE_BYTES 4096

/* Tokens of a KV block. */
#define SOUNDER_BLOCK_TOKENS 128

/* What sounder_capture_read returns of the last step, for tests and figures. */
enum sounder_capture {
  SOUNDER_CAPTURE_EMBEDDING = 0,      /* [tokens, hidden], layer is ignored */
  SOUNDER_CAPTURE_ATTENTION_NORM = 1, /* [tokens, hidden] */
  SOUNDER_CAPTURE_Q = 2,              /* [tokens, heads * head_dim], after norm and RoPE */
  SOUNDER_CAPTURE_K = 3,              /* [tokens, kv_heads * head_dim], after norm and RoPE */
  SOUNDER_CAPTURE_V = 4,              /* [tokens, kv_heads * head_dim] */
  SOUNDER_CAPTURE_ATTENTION = 5,      /* [tokens, heads * head_dim], before the output projection */
  SOUNDER_CAPTURE_LAYER = 6,          /* [tokens, hidden], the residual stream after the layer */
  SOUNDER_CAPTURE_FINAL_NORM = 7,     /* [tokens, hidden], layer is ignored */
  SOUNDER_CAPTURE_LOGITS = 8,         /* [tokens, vocabulary], layer is ignored */
  SOUNDER_CAPTURE_COUNT = 9
};

/* Figures of this machine, as int64 indexed by this enum. */
enum sounder_machine {
  SOUNDER_MACHINE_MEMORY_TOTAL = 0,     /* bytes it has, or the cgroup's limit where that is less */
  SOUNDER_MACHINE_MEMORY_AVAILABLE = 1, /* bytes this process may still take without swapping */
  SOUNDER_MACHINE_CORES = 2,            /* what CONFIG_THREADS 0 means */
  SOUNDER_MACHINE_COUNT = 3
};

/* Memory of a GPU, as int64 indexed by this enum. */
enum sounder_device {
  SOUNDER_DEVICE_MEMORY_TOTAL = 0,
  SOUNDER_DEVICE_MEMORY_FREE = 1,
  SOUNDER_DEVICE_COUNT = 2
};

/* ---- engine --------------------------------------------------------------------------------- */

SOUNDER_API int32_t sounder_abi_version(void);

/* A new engine without weights, or NULL when there is no memory. Freed by sounder_close. */
SOUNDER_API sounder_engine *sounder_create(void);

/* Cancels the running step, waits for it, joins the threads and frees everything. NULL is allowed. */
SOUNDER_API void sounder_close(sounder_engine *engine);

/* Copies the text of the last failure as UTF-8 (no terminator) and returns its length in bytes,
 * which may exceed capacity: then only the first capacity bytes were copied. */
SOUNDER_API int32_t sounder_error_text(sounder_engine *engine, uint8_t *text, int32_t capacity);

/* States the model. ints [SOUNDER_CONFIG_INT_COUNT], floats [SOUNDER_CONFIG_FLOAT_COUNT],
 * rope_frequencies [ROPE_DIMS / 2]: the angle of pair i at position p is p * rope_frequencies[i];
 * pair i is dimensions i and i + ROPE_DIMS / 2. */
SOUNDER_API int32_t sounder_configure(sounder_engine *engine, const int32_t *ints, int32_t int_count,
                                      const float *floats, int32_t float_count, const float *rope_frequencies,
                                      int32_t frequency_count);

/* Names the layers that never sample, as many as SOUNDER_CONFIG_DENSE_LAYERS says, each once. Between
 * sounder_configure and sounder_load. */
SOUNDER_API int32_t sounder_dense_layers(sounder_engine *engine, const int32_t *layers, int32_t count);

/* Names a file with weights. Returns its index (from 0 up) or a negative status. */
SOUNDER_API int32_t sounder_add_file(sounder_engine *engine, const uint8_t *path, int32_t path_bytes);

/* States where each tensor lies. layers: 0 for tensors that belong to no layer. files: an index from
 * sounder_add_file or SOUNDER_NO_FILE. offsets: bytes from the start of the file. interleaved_heads:
 * 0, or the number of heads whose rows lie pairwise interleaved (GGUF's llama) and are put in order. */
SOUNDER_API int32_t sounder_add_tensors(sounder_engine *engine, int32_t count, const int32_t *roles,
                                        const int32_t *layers, const int32_t *files, const int32_t *types,
                                        const int32_t *rows, const int32_t *columns,
                                        const int32_t *interleaved_heads, const int64_t *offsets);

/* blocking: Reads and converts all weights, makes the threads and the KV pool. */
SOUNDER_API int32_t sounder_load(sounder_engine *engine);

/* Share of sounder_load that is done, in thousandths. */
SOUNDER_API int32_t sounder_load_progress(sounder_engine *engine);

/* Makes a running sounder_load or sounder_step end soon (every context in it SOUNDER_CANCELLED). */
SOUNDER_API int32_t sounder_stop(sounder_engine *engine);

/* figures [SOUNDER_INFO_COUNT] */
SOUNDER_API int32_t sounder_info_figures(sounder_engine *engine, int64_t *figures, int32_t count);

/* One line that says what computes: instruction level, matrix library, threads. Length as
 * sounder_error_text. */
SOUNDER_API int32_t sounder_info_text(sounder_engine *engine, uint8_t *text, int32_t capacity);

/* The memory formula for ints [SOUNDER_CONFIG_INT_COUNT] into figures [SOUNDER_PLAN_COUNT]. Needs no
 * engine. SOUNDER_INVALID when the figures are impossible. */
SOUNDER_API int32_t sounder_plan_memory(const int32_t *ints, int32_t int_count, int64_t *figures,
                                        int32_t figure_count);

/* figures [SOUNDER_MACHINE_COUNT]. Needs no engine. */
SOUNDER_API int32_t sounder_machine_figures(int64_t *figures, int32_t count);

/* figures [SOUNDER_DEVICE_COUNT] of a GPU by its index. Fails with a sentence in the engine where there is no
 * such GPU, no driver, or no libsounder_cuda.so beside this library. */
SOUNDER_API int32_t sounder_device_figures(sounder_engine *engine, int32_t device, int64_t *figures,
                                           int32_t count);

/* ---- contexts ------------------------------------------------------------------------------- */

/* Returns a new empty context's id (> 0) or a negative status. */
SOUNDER_API int32_t sounder_context_create(sounder_engine *engine);

/* A new context with the first tokens of another one. Full blocks are shared, the last one is copied. */
SOUNDER_API int32_t sounder_context_fork(sounder_engine *engine, int32_t context, int32_t tokens);

/* Forgets all but the first tokens of a context. */
SOUNDER_API int32_t sounder_context_truncate(sounder_engine *engine, int32_t context, int32_t tokens);

SOUNDER_API int32_t sounder_context_free(sounder_engine *engine, int32_t context);

/* Tokens in a context, or a negative status. */
SOUNDER_API int32_t sounder_context_length(sounder_engine *engine, int32_t context);

/* First tokens of a context whose KV was computed by exact attention alone: what others may share. */
SOUNDER_API int32_t sounder_context_exact(sounder_engine *engine, int32_t context);

/* ---- saved contexts -------------------------------------------------------------------------- */

/* The file is described in native/src/saved/format.h. It holds KV and index records in the layout of host
 * memory, so that every backend reads what any other wrote. lsh tables are made again from the keys.
 *
 * Steps go on while a context is saved or restored; neither takes the engine's thread. A save may be of a
 * context in the running step: it sees what the context had before. Blocks that are being saved count as used
 * until the save ends, even when their context was freed. path: UTF-8 without a zero byte; the caller has
 * made sure that it may be read or written. identity [SOUNDER_IDENTITY_BYTES]. */

/* blocking: Writes the first tokens of a context, with a note of the caller, to a file. It is written under
 * another name in the same folder (the path and ".partial"), synced and renamed, so the path never names half
 * a context; when the call fails nothing of it is left. SOUNDER_IO: the system's reason, a full disk among
 * them. */
SOUNDER_API int32_t sounder_context_save(sounder_engine *engine, int32_t context, int32_t tokens,
                                         const uint8_t *path, int32_t path_bytes, const uint8_t *identity,
                                         const uint8_t *note, int32_t note_bytes);

/* blocking: A new context with the first tokens that were saved: all of them when there are no more than
 * asked for, otherwise those of whole blocks. Returns its id or a negative status. SOUNDER_INVALID: the file
 * is damaged (in a block that was read), or was saved with another model, tokenizer, KV type or index; the
 * text says which. */
SOUNDER_API int32_t sounder_context_restore(sounder_engine *engine, int32_t tokens, const uint8_t *path,
                                            int32_t path_bytes, const uint8_t *identity);

/* blocking: What a file holds, checked like a restore up to its blocks, which are not read. Is no transfer:
 * as many as wished run at a time. figures [SOUNDER_SAVED_COUNT]; note and tokens take as much as fits
 * their capacities. */
SOUNDER_API int32_t sounder_saved_describe(sounder_engine *engine, const uint8_t *path, int32_t path_bytes,
                                           const uint8_t *identity, int64_t *figures, int32_t figure_count,
                                           uint8_t *note, int32_t note_capacity, int32_t *tokens,
                                           int32_t token_capacity);

/* Ends the running transfer within one block: SOUNDER_CANCELLED. Does nothing when none runs. */
SOUNDER_API int32_t sounder_transfer_cancel(sounder_engine *engine);

/* Share of the running transfer that is done, in thousandths; of the last one when none runs. */
SOUNDER_API int32_t sounder_transfer_progress(sounder_engine *engine);

/* ---- steps ---------------------------------------------------------------------------------- */

/* blocking: Appends new tokens to S = sequences contexts and samples one token after each.
 *   contexts        [S] ids, each at most once
 *   token_counts    [S] new tokens of each context, at least 1; T is their sum
 *   tokens          [T]
 *   ints            [S, SOUNDER_STEP_INT_COUNT]
 *   floats          [S, SOUNDER_STEP_FLOAT_COUNT]
 *   bias_tokens     [bias_count] with bias_values added to their logits; may be NULL
 *   allowed_tokens  [allowed_rows, ceil(vocabulary / 32)] bit masks; may be NULL
 *   statuses        [S] out: each context succeeds or fails alone
 *   sampled         [S] out: the token, or -1 where none was asked for
 *   sampled_logprobs [S] out: its log-probability before temperature, penalties, masks and cuts
 *   top_tokens, top_logprobs [S, SOUNDER_MAX_ALTERNATIVES] out: best first, -1 past the last
 *   given_logprobs  [T] out, for contexts that ask to score: the log-probability of the token that
 *                   follows each new token (NEXT_TOKEN after the last; 0 when that is -1); may be NULL
 *   given_top_tokens, given_top_logprobs [T, SOUNDER_MAX_ALTERNATIVES] out; may be NULL
 *   statistics      [S, SOUNDER_STATISTIC_COUNT] out
 *   stage_ms        [SOUNDER_STAGE_COUNT] out
 * Returns SOUNDER_OK even when some contexts failed, and a failure when the call itself was wrong
 * (then nothing ran). A context that failed is as long as before. */
SOUNDER_API int32_t sounder_step(sounder_engine *engine, int32_t sequences, const int32_t *contexts,
                                 const int32_t *token_counts, const int32_t *tokens, const int32_t *ints,
                                 const float *floats, const int32_t *bias_tokens, const float *bias_values,
                                 int32_t bias_count, const uint32_t *allowed_tokens, int32_t allowed_rows,
                                 int32_t *statuses, int32_t *sampled, float *sampled_logprobs,
                                 int32_t *top_tokens, float *top_logprobs, float *given_logprobs,
                                 int32_t *given_top_tokens, float *given_top_logprobs, float *statistics,
                                 float *stage_ms);

/* Copies a sum of the last step: that of the hidden states after the final norm [hidden] of the new tokens of
 * the sequence with this index, which asked for it (SOUNDER_STEP_HIDDEN) and succeeded. Returns the number of
 * floats; copies at most capacity. */
SOUNDER_API int32_t sounder_step_hidden(sounder_engine *engine, int32_t sequence, float *values,
                                        int32_t capacity);

/* Ends this context's part of the running step within one layer. Does nothing when it is in none. */
SOUNDER_API int32_t sounder_cancel(sounder_engine *engine, int32_t context);

/* Share of the running step that is done for this context, in thousandths; 0 when it is in none. */
SOUNDER_API int32_t sounder_progress(sounder_engine *engine, int32_t context);

/* ---- capture: for tests and figures ----------------------------------------------------------- */

/* 1: keep the inner values of each following step; 0: stop and free them. */
SOUNDER_API int32_t sounder_capture_enable(sounder_engine *engine, int32_t enabled);

/* Copies what (enum sounder_capture) of a layer in the last step, rows in the order of its tokens.
 * Returns the number of floats there are; copies at most capacity. */
SOUNDER_API int32_t sounder_capture_read(sounder_engine *engine, int32_t what, int32_t layer, float *values,
                                         int32_t capacity);

/* blocking: What a strategy makes of given queries over a context's KV at one layer: for tests, figures and
 * benches. The query token stands at the context's last position.
 *   ints, floats  as of one context of sounder_step; only what concerns attention is read
 *   q             [heads * head_dim] after RoPE
 *   output        [heads * head_dim] out
 *   statistics    [SOUNDER_STATISTIC_COUNT] out
 *   scores        [heads, tokens] out, or NULL: natural-log estimates that the sketch makes of q·k / sqrt(d),
 *                 NaN where it makes none; with any other strategy the true ones */
SOUNDER_API int32_t sounder_attend(sounder_engine *engine, int32_t context, int32_t layer,
                                   const int32_t *ints, const float *floats, const float *q, float *output,
                                   float *statistics, float *scores);

/* blocking: Appends tokens whose KV is seeded noise instead of computed: for benches at lengths whose prefill
 * nobody would wait for. Speed is that of any other KV. */
SOUNDER_API int32_t sounder_context_fill(sounder_engine *engine, int32_t context, int32_t tokens,
                                         int32_t seed);

#ifdef __cplusplus
}
#endif

#endif
