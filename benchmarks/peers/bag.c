/* The bag's training step in C, for one size: B, K, D and V are constants, and so is everything that can be
 * known beforehand. It works on a chunk of examples at a time, so that what it reads and writes stays in the
 * first-level cache. Vectors are those of GCC and Clang, as wide as the machine's registers; a tile of a product
 * keeps its sums in as many of them as there are.
 *
 *     cc -O3 -march=native -shared -fPIC -DB=64 -DK=3 -DD=32 -DV=27 -o bag.so bag.c
 *
 * with the flags for floating point that in_c.py has.
 */
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else /* SSE2, NEON, and whatever the compiler makes of it elsewhere */
#define LANES 4
#endif

/* A tile's sums are of ROWS examples or LETTERS letters, by two vectors. */
#if defined(__AVX512F__) || defined(__aarch64__) /* of 32 registers, 16 or 18 sums */
#define ROWS 8
#define LETTERS 9
#else /* of 16 registers, 12 sums */
#define ROWS 6
#define LETTERS 6
#endif

#define UP(n, to) (((n) + (to) - 1) / (to) * (to))
#define STRIP (2 * LANES) /* columns of a tile */
#define VP UP(V, STRIP)
#define CHUNK (B < 64 ? B : 64) /* examples */
_Static_assert(D % STRIP == 0, "whole tiles");
_Static_assert(ROWS <= LETTERS && UP(V, LETTERS) <= VP, "room for a tile");

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec4 __attribute__((vector_size(16)));
typedef union { vec all; vec4 part[LANES / 4]; } quarters;
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, x) (*(vec *)(p) = (x))
#define ALIGNED __attribute__((aligned(64)))

static ALIGNED float E[V * D], W[UP(V, LETTERS) * D]; /* the parameters */
static ALIGNED float dE[V * D], dW[UP(V, LETTERS) * D], WT[D * VP];
/* Of a chunk: the bags h, of which later the derivative takes the place, and the probabilities p. */
static ALIGNED float h[UP(CHUNK, ROWS) * D], p[UP(CHUNK, ROWS) * VP];
static ALIGNED float no_letter[VP]; /* added to logits: columns after the last letter get no probability */
static const int32_t *windows; /* (N, K + 1): contexts and, in the last column, targets */
static int64_t N;

static inline vec larger(vec x, vec y)
{
    ivec more = x > y;
    return (vec)((more & (ivec)x) | (~more & (ivec)y));
}

/* e**x for x <= 0: 2**n * e**f, with a polynomial for |f| <= ln(2) / 2. Below -60 it is e**-60:
 * nothing beside 1, and yet so far from the smallest float that what is made of it is not slow to compute with. */
static inline vec vexp(vec x)
{
    x = larger(x, (vec){} - 60.0f);
    ivec n = __builtin_convertvector(x * 1.44269504f - 0.5f, ivec); /* rounds towards 0 */
    vec f = x - __builtin_convertvector(n, vec) * 0.693147181f;
    vec y = f * 0.00829765480f + 0.0419153832f;
    y = y * f + 0.166675746f;
    y = y * f + 0.499988943f;
    y = y * f + 0.999999702f;
    y = y * f + 1.00000012f;
    return y * (vec)((n + 127) << 23);
}

/* The largest number of a vector, and the sum of all: first of its quarters, then of the four that are left. */
static inline float most_of(vec x)
{
    quarters of = {x};
    vec4 most = of.part[0];
    for (int i = 1; i < LANES / 4; i++) {
        ivec4 more = most > of.part[i];
        most = (vec4)((more & (ivec4)most) | (~more & (ivec4)of.part[i]));
    }
    float left = most[0] > most[1] ? most[0] : most[1], right = most[2] > most[3] ? most[2] : most[3];
    return left > right ? left : right;
}

static inline float sum_of(vec x)
{
    quarters of = {x};
    vec4 sum = of.part[0];
    for (int i = 1; i < LANES / 4; i++) sum += of.part[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* out[i] = the sum over j of a[i * row + j * column] * x[j], for `rows` rows of one strip; or out[i] + that. */
static inline __attribute__((always_inline)) void tile(
    const int rows, float *out, int pitch, const float *a, int row, int column, const float *x, int width,
    int depth, const int onto)
{
    vec t[LETTERS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int w = 0; w < 2; w++) t[i][w] = onto ? LOAD(out + i * pitch + w * LANES) : (vec){};
    for (int j = 0; j < depth; j++)
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int w = 0; w < 2; w++)
                t[i][w] += a[i * row + j * column] * LOAD(x + j * width + w * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int w = 0; w < 2; w++) STORE(out + i * pitch + w * LANES, t[i][w]);
}

/* How many letters a context begins with that are all the same: before a word there is END, often. */
static inline int run_of(const int32_t *window)
{
    int run = 1;
    while (run < K && window[run] == window[0]) run++;
    return run;
}

static inline void look_up(float *bag, const int32_t *window)
{
    int run = run_of(window);
    for (int d = 0; d < D; d += LANES) {
        vec total = LOAD(E + window[0] * D + d) * (float)run;
        for (int k = run; k < K; k++) total += LOAD(E + window[k] * D + d);
        STORE(bag + d, total);
    }
}

/* Logits become probabilities, less 1 at the target, both by B. */
static inline void softmax(float *row, int target)
{
    vec x[VP / LANES], highest, total = {};
    for (int z = 0; z < VP / LANES; z++) {
        x[z] = LOAD(row + z * LANES) + LOAD(no_letter + z * LANES);
        highest = z ? larger(x[z], highest) : x[z];
    }
    float most = most_of(highest);
    for (int z = 0; z < VP / LANES; z++) total += x[z] = vexp(x[z] - most);
    float scale = 1.0f / (B * sum_of(total));
    for (int z = 0; z < VP / LANES; z++) STORE(row + z * LANES, x[z] * scale);
    row[target] -= 1.0f / B;
}

static inline void add_share(const float *dh, const int32_t *window)
{
    int run = run_of(window);
    for (int d = 0; d < D; d += LANES) {
        vec share = LOAD(dh + d);
        STORE(dE + window[0] * D + d, LOAD(dE + window[0] * D + d) + share * (float)run);
        for (int k = run; k < K; k++) STORE(dE + window[k] * D + d, LOAD(dE + window[k] * D + d) + share);
    }
}

static inline void learn_from(const int64_t *chosen, int count)
{
#define WINDOW(b) (windows + chosen[b] * (K + 1))
    for (int b = 0; b < count; b++) look_up(h + b * D, WINDOW(b));
    for (int v = 0; v < VP; v += STRIP)
        for (int b = 0; b < count; b += ROWS)
            tile(ROWS, p + b * VP + v, VP, h + b * D, D, 1, WT + v, VP, D, 0);
    for (int b = 0; b < count; b++) softmax(p + b * VP, WINDOW(b)[K]);
    for (int d = 0; d < D; d += STRIP)
        for (int v = 0; v < V; v += LETTERS)
            tile(LETTERS, dW + v * D + d, D, p + v, 1, VP, h + d, D, count, 1);
    for (int d = 0; d < D; d += STRIP)
        for (int b = 0; b < count; b += ROWS)
            tile(ROWS, h + b * D + d, D, p + b * VP, VP, 1, W + d, D, V, 0);
    for (int b = 0; b < count; b++) add_share(h + b * D, WINDOW(b));
}

static void step(const int64_t *chosen, float rate)
{
    for (int v = 0; v < V; v++)
        for (int d = 0; d < D; d++) WT[d * VP + v] = W[v * D + d];
    memset(dE, 0, sizeof dE);
    memset(dW, 0, sizeof dW);
    for (int b = 0; b + CHUNK <= B; b += CHUNK) learn_from(chosen + b, CHUNK);
    if (B % CHUNK) learn_from(chosen + B / CHUNK * CHUNK, B % CHUNK);
    for (int i = 0; i < V * D; i += LANES) {
        STORE(E + i, LOAD(E + i) - rate * LOAD(dE + i));
        STORE(W + i, LOAD(W + i) - rate * LOAD(dW + i));
    }
}

void begin(const int32_t *all, int64_t count, const float *e, const float *w)
{
    windows = all, N = count;
    for (int v = V; v < VP; v++) no_letter[v] = -1e30f;
    memcpy(E, e, sizeof(float) * V * D);
    memcpy(W, w, sizeof(float) * V * D);
}

/* Steps on given examples, steps * B of them, each at its rate of learning. */
void follow(const int64_t *chosen, const float *rates, int64_t steps)
{
    for (int64_t i = 0; i < steps; i++) step(chosen + i * B, rates[i]);
}

/* Steps on examples drawn at random (xorshift64*, Marsaglia 2003 and Vigna 2016). */
void run(const float *rates, int64_t steps)
{
    static uint64_t state = 88172645463325252u;
    int64_t chosen[B];
    for (int64_t i = 0; i < steps; i++) {
        for (int b = 0; b < B; b++) {
            state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
            chosen[b] = (int64_t)(((state * 2685821657736338717u) >> 32) * (uint64_t)N >> 32);
        }
        step(chosen, rates[i]);
    }
}

void weights(float *e, float *w)
{
    memcpy(e, E, sizeof(float) * V * D);
    memcpy(w, W, sizeof(float) * V * D);
}
