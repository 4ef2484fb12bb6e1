/* Causal softmax attention of narrow heads, forward and backward, in float32: see narrow_attention.py.

   One head at a time: its keys and values are turned into D columns of T numbers, which fit a core's cache, and every
   inner loop goes along them, in vectors that GCC and Clang have for all processors. Rows end at a multiple of WIDE, so
   that no loop has a remainder; what is beyond the diagonal gets weight 0. No row is stored: the backward pass finds the
   weights again from the logarithms of the sums, log sum exp(scores), as FlashAttention does (arXiv 2205.14135). */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WIDE 8
#define ROWS 4 /* queries whose gradients are added to keys and values at a time */
#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * WIDE), may_alias));
typedef uint32_t naturals __attribute__((vector_size(4 * WIDE), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * WIDE), may_alias));

/* Strides of a tensor (batch, heads, tokens, D), in numbers; along D it is 1. */
typedef struct { int64_t batch, head, token; } Strides;

INLINE int64_t rounded_up(int64_t n) { return (n + WIDE - 1) / WIDE * WIDE; }

INLINE vector all(float x) { return x - (vector){0}; }

INLINE vector greater(vector x, vector y) {
    integers more = x > y;
    return (vector)((more & (integers)x) | (~more & (integers)y));
}

INLINE float sum_of(vector x) {
    float sum = 0;
    for (int l = 0; l < WIDE; l++) sum += x[l];
    return sum;
}

/* exp(x) to the last bits, x at most 0 or so: 2^n times a polynomial (Cephes' expf). Below -87 it is about 1e-38. */
INLINE vector exponential(vector x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: what is added to it has no digits after the point, and n is its end */
    integers low = x < all(-87.0f);
    x = (vector)((low & (integers)all(-87.0f)) | (~low & (integers)x));
    vector shifted = x * 1.44269504f + round, n = shifted - round;
    vector f = x - n * 0.693359375f + n * 2.12194440e-4f;
    vector y = f * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * f + 8.3334519073e-3f;
    y = y * f + 4.1665795894e-2f;
    y = y * f + 1.6666665459e-1f;
    y = y * f + 5.0000001201e-1f;
    y = y * f * f + f + 1.0f;
    return y * (vector)(((naturals)shifted << 23) + (127u << 23)); /* unsigned, since it may overflow */
}

/* x (T, D) to columns (D, length), zeros after T. */
INLINE void to_columns(const int D, const float *x, int64_t stride, int64_t T, int64_t length, float *restrict columns) {
    for (int64_t t = 0; t < T; t++)
        for (int d = 0; d < D; d++) columns[d * length + t] = x[t * stride + d];
    for (int64_t t = T; t < length; t++)
        for (int d = 0; d < D; d++) columns[d * length + t] = 0;
}

/* x . row j, for the WIDE rows from j on that the columns hold; each of x as often as a vector is wide. */
INLINE vector times_rows(const int D, const vector *x, const float *columns, int64_t length, int64_t j) {
    vector sum = x[0] * *(const vector *)(columns + j);
    for (int d = 1; d < D; d++) sum += x[d] * *(const vector *)(columns + d * length + j);
    return sum;
}

/* out = the sum of weights[j] times row j, over the first n rows. By eights, which fit a core's registers. */
INLINE void weighted_sum(const int D, const float *weights, const float *columns, int64_t length, int64_t n, float *out) {
    for (int from = 0; from < D; from += 8) {
        vector sums[8] = {{0}};
        for (int64_t j = 0; j < n; j += WIDE)
            for (int d = 0; d < 8; d++)
                sums[d] += *(const vector *)(weights + j) * *(const vector *)(columns + (from + d) * length + j);
        for (int d = 0; d < 8; d++) out[from + d] = sum_of(sums[d]);
    }
}

INLINE void forward_of_head(const int D, int64_t T, const float *q, int64_t q_stride, const float *k, int64_t k_stride,
                            const float *v, int64_t v_stride, float scale, float *out, int64_t out_stride,
                            float *log_sums, float *work) {
    int64_t length = rounded_up(T);
    float *keys = work, *values = keys + D * length, *row = values + D * length;
    to_columns(D, k, k_stride, T, length, keys);
    to_columns(D, v, v_stride, T, length, values);
    for (int64_t i = 0; i < T; i++) {
        int64_t n = rounded_up(i + 1);
        float found[D], most;
        vector query[D];
        for (int d = 0; d < D; d++) query[d] = all(scale * q[i * q_stride + d]);
        for (int64_t j = 0; j < n; j += WIDE) *(vector *)(row + j) = times_rows(D, query, keys, length, j);
        for (int64_t j = i + 1; j < n; j++) row[j] = row[0];
        vector lanes = *(vector *)row, sums = {0};
        for (int64_t j = WIDE; j < n; j += WIDE) lanes = greater(*(vector *)(row + j), lanes);
        most = lanes[0];
        for (int l = 1; l < WIDE; l++) most = lanes[l] > most ? lanes[l] : most;
        for (int64_t j = 0; j < n; j += WIDE) *(vector *)(row + j) = exponential(*(vector *)(row + j) - most);
        for (int64_t j = i + 1; j < n; j++) row[j] = 0;
        for (int64_t j = 0; j < n; j += WIDE) sums += *(vector *)(row + j);
        float sum = sum_of(sums);
        weighted_sum(D, row, values, length, n, found);
        for (int d = 0; d < D; d++) out[i * out_stride + d] = found[d] / sum;
        log_sums[i] = most + logf(sum);
    }
}

INLINE void backward_of_head(const int D, int64_t T, const float *q, int64_t q_stride, const float *k, int64_t k_stride,
                             const float *v, int64_t v_stride, float scale, const float *out, int64_t out_stride,
                             const float *log_sums, const float *grad, int64_t grad_stride, float *q_grad,
                             float *k_grad, float *v_grad, int64_t grads_stride, float *work) {
    int64_t length = rounded_up(T);
    float *keys = work, *values = keys + D * length;
    float *of_keys = values + D * length, *of_values = of_keys + D * length;
    float *weights = of_values + D * length, *of_scores = weights + ROWS * length;
    to_columns(D, k, k_stride, T, length, keys);
    to_columns(D, v, v_stride, T, length, values);
    memset(of_keys, 0, 2 * D * length * sizeof(float));
    for (int64_t first = 0; first < T; first += ROWS) {
        int64_t last = first + ROWS < T ? first + ROWS : T, n = rounded_up(last);
        float query[ROWS][D], given[ROWS][D], found[D];
        if (last < first + ROWS) {
            memset(query, 0, sizeof query);
            memset(given, 0, sizeof given);
            memset(weights, 0, 2 * ROWS * length * sizeof(float));
        }
        for (int64_t i = first; i < last; i++) {
            float *p = weights + (i - first) * length, *s = of_scores + (i - first) * length;
            float along = 0;
            vector own[D], from[D];
            for (int d = 0; d < D; d++) {
                query[i - first][d] = scale * q[i * q_stride + d];
                given[i - first][d] = grad[i * grad_stride + d];
                own[d] = all(query[i - first][d]);
                from[d] = all(given[i - first][d]);
                along += grad[i * grad_stride + d] * out[i * out_stride + d];
            }
            for (int64_t j = 0; j < n; j += WIDE)
                *(vector *)(p + j) = exponential(times_rows(D, own, keys, length, j) - log_sums[i]);
            for (int64_t j = i + 1; j < n; j++) p[j] = 0;
            for (int64_t j = 0; j < n; j += WIDE)
                *(vector *)(s + j) = *(vector *)(p + j) * (times_rows(D, from, values, length, j) - along);
            weighted_sum(D, s, keys, length, n, found);
            for (int d = 0; d < D; d++) q_grad[i * grads_stride + d] = scale * found[d];
        }
        for (int d = 0; d < D; d++)
            for (int64_t j = 0; j < n; j += WIDE) {
                vector *key = (vector *)(of_keys + d * length + j), *value = (vector *)(of_values + d * length + j);
                vector a = *key, b = *value;
                for (int r = 0; r < ROWS; r++) {
                    a += query[r][d] * *(vector *)(of_scores + r * length + j);
                    b += given[r][d] * *(vector *)(weights + r * length + j);
                }
                *key = a;
                *value = b;
            }
    }
    for (int64_t t = 0; t < T; t++)
        for (int d = 0; d < D; d++) {
            k_grad[t * grads_stride + d] = of_keys[d * length + t];
            v_grad[t * grads_stride + d] = of_values[d * length + t];
        }
}

static float *workspace(int64_t numbers) { return aligned_alloc(64, (numbers * sizeof(float) + 63) / 64 * 64); }

/* Heads begin to end - 1 of batch x heads; D is 8 or 16; log_sums is (batch, heads, T). Returns 0, or 1 without memory. */
int forward(int64_t begin, int64_t end, int64_t heads, int64_t T, int64_t D, float scale, const float *q, Strides qs,
            const float *k, Strides ks, const float *v, Strides vs, float *out, Strides os, float *log_sums) {
    float *work = workspace((2 * D + 1) * rounded_up(T));
    if (!work) return 1;
    for (int64_t i = begin; i < end; i++) {
        int64_t b = i / heads, h = i % heads;
#define FORWARD(D) forward_of_head(D, T, q + b * qs.batch + h * qs.head, qs.token, k + b * ks.batch + h * ks.head, \
        ks.token, v + b * vs.batch + h * vs.head, vs.token, scale, out + b * os.batch + h * os.head, os.token, \
        log_sums + i * T, work)
        if (D == 8) FORWARD(8);
        else FORWARD(16);
    }
    free(work);
    return 0;
}

/* As forward; the gradients of q, k and v have strides gs. */
int backward(int64_t begin, int64_t end, int64_t heads, int64_t T, int64_t D, float scale, const float *q, Strides qs,
             const float *k, Strides ks, const float *v, Strides vs, const float *out, Strides os,
             const float *log_sums, const float *grad, Strides grads, float *q_grad, float *k_grad, float *v_grad,
             Strides gs) {
    float *work = workspace((4 * D + 2 * ROWS) * rounded_up(T));
    if (!work) return 1;
    for (int64_t i = begin; i < end; i++) {
        int64_t b = i / heads, h = i % heads, to = b * gs.batch + h * gs.head;
#define BACKWARD(D) backward_of_head(D, T, q + b * qs.batch + h * qs.head, qs.token, k + b * ks.batch + h * ks.head, \
        ks.token, v + b * vs.batch + h * vs.head, vs.token, scale, out + b * os.batch + h * os.head, os.token, \
        log_sums + i * T, grad + b * grads.batch + h * grads.head, grads.token, q_grad + to, k_grad + to, v_grad + to, \
        gs.token, work)
        if (D == 8) BACKWARD(8);
        else BACKWARD(16);
    }
    free(work);
    return 0;
}
