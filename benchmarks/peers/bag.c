/* The bag's training step in C, for one size: B, K and D are constants, and so is everything that can be
 * known beforehand. Vectors are those of GCC and Clang; the loops over tiles keep their sums in registers.
 *
 *     cc -O3 -march=native -shared -fPIC -DB=64 -DK=3 -DD=32 -DV=27 -o bag.so bag.c
 *
 * with the flags for floating point that in_c.py has.
 */
#include <stdint.h>
#include <string.h>

#define LANES 16
#define VP ((V + 31) / 32 * 32) /* letters, in whole pairs of vectors */
#define ROWS 8                  /* of a tile of examples */
#define LETTERS 9               /* of a tile of letters */
#define UP(n, rows) (((n) + (rows) - 1) / (rows) * (rows))
_Static_assert(B % ROWS == 0 && D % (2 * LANES) == 0 && UP(V, LETTERS) <= VP, "whole tiles");

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, x) (*(vec *)(p) = (x))
#define ALIGNED __attribute__((aligned(64)))

static ALIGNED float E[V * D], W[UP(V, LETTERS) * D]; /* the parameters */
static ALIGNED float WT[D * VP], h[B * D], p[B * VP], dh[B * D];
static const int32_t *windows; /* (N, K + 1): contexts and, in the last column, targets */
static int64_t N;
static float rate;

/* e**x for x <= 0: 2**n * e**f, with a polynomial for |f| <= ln(2) / 2; below -87 it is 0. */
static inline vec vexp(vec x)
{
    vec lowest = (vec){} - 87.0f;
    ivec below = x < lowest;
    x = (vec)((below & (ivec)lowest) | (~below & (ivec)x));
    ivec n = __builtin_convertvector(x * 1.44269504f - 0.5f, ivec); /* rounds towards 0 */
    vec f = x - __builtin_convertvector(n, vec) * 0.693147181f;
    vec y = f * 0.00829765480f + 0.0419153832f;
    y = y * f + 0.166675746f;
    y = y * f + 0.499988943f;
    y = y * f + 0.999999702f;
    y = y * f + 1.00000012f;
    return (vec)(~below & (ivec)(y * (vec)((n + 127) << 23)));
}

static inline float sum(vec x)
{
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}

/* out[i] = the sum over j of a[i * row + j * column] * x[j], for `rows` rows and two vectors of columns; or
 * out[i] - rate * that. */
#define TILE(name, rows)                                                                              \
    static inline void name(float *out, int pitch, const float *a, int row, int column, const float *x, \
                            int width, int depth, int update)                                         \
    {                                                                                                 \
        vec t[rows][2] = {};                                                                          \
        for (int j = 0; j < depth; j++) {                                                             \
            vec left = LOAD(x + j * width), right = LOAD(x + j * width + LANES);                      \
            for (int i = 0; i < rows; i++) {                                                          \
                float number = a[i * row + j * column];                                               \
                t[i][0] += number * left, t[i][1] += number * right;                                  \
            }                                                                                         \
        }                                                                                             \
        for (int i = 0; i < rows; i++)                                                                \
            for (int half = 0; half < 2; half++) {                                                    \
                float *place = out + i * pitch + half * LANES;                                        \
                STORE(place, update ? LOAD(place) - rate * t[i][half] : t[i][half]);                  \
            }                                                                                         \
    }
TILE(tile_of_examples, ROWS)
TILE(tile_of_letters, LETTERS)

static void step(const int64_t *chosen)
{
    for (int v = 0; v < V; v++)
        for (int d = 0; d < D; d++) WT[d * VP + v] = W[v * D + d];
    for (int b = 0; b < B; b++) {
        const int32_t *window = windows + chosen[b] * (K + 1);
        for (int d = 0; d < D; d += LANES) {
            vec total = LOAD(E + window[0] * D + d);
            for (int k = 1; k < K; k++) total += LOAD(E + window[k] * D + d);
            STORE(h + b * D + d, total);
        }
    }
    for (int b = 0; b < B; b += ROWS)
        for (int v = 0; v < VP; v += 2 * LANES)
            tile_of_examples(p + b * VP + v, VP, h + b * D, D, 1, WT + v, VP, D, 0);
    for (int b = 0; b < B; b++) { /* softmax, and its derivative */
        float *row = p + b * VP, highest = row[0];
        for (int v = 1; v < V; v++) highest = row[v] > highest ? row[v] : highest;
        for (int v = V; v < VP; v++) row[v] = -1e30f;
        vec total = {};
        for (int v = 0; v < VP; v += LANES) {
            vec power = vexp(LOAD(row + v) - highest);
            STORE(row + v, power);
            total += power;
        }
        float scale = 1.0f / (B * sum(total));
        for (int v = 0; v < VP; v += LANES) STORE(row + v, LOAD(row + v) * scale);
        row[windows[chosen[b] * (K + 1) + K]] -= 1.0f / B;
    }
    for (int b = 0; b < B; b += ROWS)
        for (int d = 0; d < D; d += 2 * LANES)
            tile_of_examples(dh + b * D + d, D, p + b * VP, VP, 1, W + d, D, V, 0);
    for (int v = 0; v < V; v += LETTERS)
        for (int d = 0; d < D; d += 2 * LANES)
            tile_of_letters(W + v * D + d, D, p + v, 1, VP, h + d, D, B, 1);
    for (int b = 0; b < B; b++) {
        const int32_t *window = windows + chosen[b] * (K + 1);
        for (int k = 0, next; k < K; k = next) { /* a context begins with a run of one letter */
            for (next = k + 1; next < K && window[next] == window[k];) next++;
            for (int d = 0; d < D; d += LANES) {
                float *place = E + window[k] * D + d;
                STORE(place, LOAD(place) - rate * (next - k) * LOAD(dh + b * D + d));
            }
        }
    }
}

void begin(const int32_t *all, int64_t count, float lr, const float *e, const float *w)
{
    windows = all, N = count, rate = lr;
    memcpy(E, e, sizeof(float) * V * D);
    memcpy(W, w, sizeof(float) * V * D);
}

/* Steps on given examples: steps * B of them. */
void follow(const int64_t *chosen, int64_t steps)
{
    for (int64_t i = 0; i < steps; i++) step(chosen + i * B);
}

/* Steps on examples drawn at random (xorshift64*, Marsaglia 2003 and Vigna 2016). */
void run(int64_t steps)
{
    static uint64_t state = 88172645463325252u;
    int64_t chosen[B];
    for (int64_t i = 0; i < steps; i++) {
        for (int b = 0; b < B; b++) {
            state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
            chosen[b] = (int64_t)(((state * 2685821657736338717u) >> 32) * (uint64_t)N >> 32);
        }
        step(chosen);
    }
}

void weights(float *e, float *w)
{
    memcpy(e, E, sizeof(float) * V * D);
    memcpy(w, W, sizeof(float) * V * D);
}
