#include "common.cuh"

// Optimizer updates, minivid/optimizers.py; docs/optimizers.md says where the rules are from.
//
//     w, g, m, v, a, v_hat   the parameter, its gradient and its slots, `size` numbers each, updated in place
//
// Written with arrays, each line of a rule is a pass over memory. Here a thread does all the lines for one number while it
// is in registers, so every array is read and written once. Several arrays are under way at the same time, which is
// enough to keep the memory busy without vectors. `keep` and `take` stand for a decay rate and one minus that rate.
//
// In all kernels:
// Thread    one number of every array
// No race   because no thread looks at another's numbers

constexpr int THREADS = 256;

// Computes  gradient descent (sgd.1)
// Reads     g
// Updates   w
extern "C" __global__ void __launch_bounds__(THREADS) sgd_1(real* w, const real* g, int size, real rate) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= static_cast<unsigned int>(size)) return;
    w[i] -= rate * g[i];  // (sgd.1)
}

// Computes  gradient descent with momentum (sgd.2), (sgd.3); with nesterov != 0 (sgd.4) instead of (sgd.3)
// Reads     g
// Updates   w, m
extern "C" __global__ void __launch_bounds__(THREADS)
    momentum_1(real* w, const real* g, real* m, int nesterov, int size, real rate, real momentum) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= static_cast<unsigned int>(size)) return;
    const real step = rate * g[i], m_i = momentum * m[i] - step;  // (sgd.2)
    m[i] = m_i;
    w[i] += nesterov ? momentum * m_i - step : m_i;  // (sgd.4), (sgd.3)
}

// Computes  RMSprop (rmsprop.1) to (rmsprop.6); `a` is used if centered != 0, `m` if with_momentum != 0
// Reads     g
// Updates   w, v, and a and m if used
extern "C" __global__ void __launch_bounds__(THREADS)
    rmsprop_1(real* w, const real* g, real* v, real* a, real* m, int centered, int with_momentum, int size, real rate,
              real keep, real take, real momentum, real epsilon) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= static_cast<unsigned int>(size)) return;
    const real g_i = g[i];
    real square = keep * v[i] + take * (g_i * g_i);  // (rmsprop.1)
    v[i] = square;
    if (centered) {
        const real a_i = keep * a[i] + take * g_i;  // (rmsprop.3)
        a[i] = a_i;
        square -= a_i * a_i;
        square = square < 0 ? real(0) : square;  // v >= a^2 but for rounding; NaN stays
    }
    real step = rate * (g_i / sqrt(square + epsilon));  // (rmsprop.2), (rmsprop.4)
    if (with_momentum) {
        step += momentum * m[i];
        m[i] = step;
    }
    w[i] -= step;  // (rmsprop.5), (rmsprop.6)
}

// Computes  Adam (adam.1) to (adam.4), alpha being (adam.3); `v_hat` is used if amsgrad != 0 (adam.5)
// Reads     g
// Updates   w, m, v, and v_hat if used
extern "C" __global__ void __launch_bounds__(THREADS)
    adam_1(real* w, const real* g, real* m, real* v, real* v_hat, int amsgrad, int size, real alpha, real keep_m,
           real take_m, real keep_v, real take_v, real epsilon) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= static_cast<unsigned int>(size)) return;
    const real g_i = g[i];
    const real m_i = keep_m * m[i] + take_m * g_i;  // (adam.1)
    real v_i = keep_v * v[i] + take_v * (g_i * g_i);  // (adam.2)
    m[i] = m_i;
    v[i] = v_i;
    if (amsgrad) {
        const real largest = v_hat[i];
        v_i = largest > v_i ? largest : v_i;  // (adam.5)
        v_hat[i] = v_i;
    }
    w[i] -= alpha * m_i / (sqrt(v_i) + epsilon);  // (adam.4)
}
