"""The adding problem: an LSTM remembers over a hundred steps, a simple recurrent network does not.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It needs no data, takes about a minute on two
cores, and writes its pictures into ``minivid_examples/adding_problem/``.
"""

# %%
import os
import time
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.layers import LSTM, Dense, SimpleRNN
from minivid.models import Sequential
from minivid.ops import lstm_backward, simple_rnn_backward
from minivid.ops.lstm import LSTMCache
from minivid.optimizers import Adam

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
T = 10 if toy else 100  # steps of a sequence
steps = 20 if toy else 2000  # of the optimizer
units = 4 if toy else 32
batch_size = 50

out = Path("minivid_examples") / "adding_problem"
out.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The problem
# A sequence has two channels: random numbers from 0 to 1, and a marker that is 1 at two steps, one in the first half
# and one in the second, 0 elsewhere. The target is the sum of the two marked numbers, asked for at the end
# (Hochreiter & Schmidhuber 1997). The first number must be remembered for 75 steps on average.
#
# Whoever does not look at the sequence does best to answer 1, the mean. Each number has variance 1/12, so that the mean
# squared error is then 2/12 = 1/6 = 0.167. Solving the problem means to be far below.


# %%
def sequences(N: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw x (N, T, 2) and the sums y (N, 1)."""
    x = np.zeros((N, T, 2), dtype=np.float32)
    x[:, :, 0] = rng.random((N, T))
    n = np.arange(N)
    first, second = rng.integers(0, T // 2, N), rng.integers(T // 2, T, N)
    x[n, first, 1] = x[n, second, 1] = 1
    return x, (x[n, first, 0] + x[n, second, 0])[:, None]


x_test, y_test = sequences(1000, np.random.default_rng(123))
baseline = float(np.mean((y_test - 1) ** 2))
print(f"always answering 1: mean squared error {baseline:.3f}")

# %% [markdown]
# ## Two networks
# They differ in one layer only. Every step of the optimizer sees new sequences, so nothing can be learned by heart. The
# gradients of all weights together are kept to a norm of 1 (clip.3): without this bound a single steep step can undo
# what was learned.


# %%
def train(layer, learning_rate: float) -> tuple[Sequential, float]:
    """Train a network around a recurrent layer; return it and its error on the test sequences."""
    rng = np.random.default_rng(0)
    model = Sequential([layer, Dense(1)])
    model.compile(Adam(learning_rate, global_clipnorm=1.0), "mse")
    start = time.monotonic()
    for step in range(1, steps + 1):
        model.train_on_batch(*sequences(batch_size, rng))
        if step % (steps // 5) == 0:
            error = model.evaluate(x_test, y_test, verbose=0)
            print(f"  step {step}: error {error:.4f}, {time.monotonic() - start:.0f} s")
    return model, error


def gradient_norms(model: Sequential, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Return the norm of dL/dh_t, and for an LSTM of dL/dc_t, for t = 1..T - 1, as means over the sequences."""
    layer, dense = model.layers
    y_pred = model.forward(x)
    dy = (2 / len(x) * (y_pred - y)).astype(np.float32)  # of the mean squared error
    dh = np.zeros_like(layer.states[0])
    dh[:, -1] = dense.backward(dy)
    # The state after step t is the initial state of the steps after t: their backward pass gives its gradient.
    gradients = [gradient_of_initial_state(layer, x, dh, t) for t in range(1, T)]
    return {
        name: np.array([np.linalg.norm(d, axis=1).mean() for d in column])
        for name, column in zip(layer.state_names, zip(*gradients, strict=True), strict=True)
    }


def gradient_of_initial_state(layer, x, dh, t: int) -> list[np.ndarray]:
    """Backpropagate from the end to the state after step t."""
    kernel, recurrent_kernel = layer.params["kernel"], layer.params["recurrent_kernel"]
    initial = [state[:, t - 1] for state in layer.states]
    after = [state[:, t:] for state in layer.states]
    if isinstance(layer, SimpleRNN):
        return [simple_rnn_backward(dh[:, t:], x[:, t:], kernel, recurrent_kernel, *after, *initial)[-1]]
    cache = LSTMCache(layer.cache.gates[:, t:], layer.cache.tanh_c[:, t:])
    return lstm_backward(dh[:, t:], None, x[:, t:], kernel, recurrent_kernel, *after, cache, *initial)[-2:]


def named_norms(models: dict[str, Sequential]) -> dict[str, np.ndarray]:
    """Return the gradient norms of all states of all networks."""
    found = {name: gradient_norms(model, x_test[:200], y_test[:200]) for name, model in models.items()}
    return {f"{name}, {state}": norms for name, states in found.items() for state, norms in states.items()}


# %% [markdown]
# ## Before training
# How much does the loss change with the state at step t? Backpropagation through time multiplies by one Jacobian per
# step. In both new networks the gradient shrinks exponentially on its way back, in the LSTM even faster: its forget
# gates begin at σ(1) = 0.73. At step 1 hardly anything is left to learn from.

# %%
minivid.set_seed(0)
new = {"SimpleRNN": Sequential([SimpleRNN(units, input_shape=(T, 2)), Dense(1)])}
new |= {"LSTM": Sequential([LSTM(units, input_shape=(T, 2)), Dense(1)])}
before = named_norms(new)
plots.gradient_norms(before, out / "gradient_norms_before.png")

# %% [markdown]
# ## Training
# The simple network gets two learning rates, and the better result counts.

# %%
minivid.set_seed(0)
print("LSTM, learning rate 0.01")
lstm, lstm_error = train(LSTM(units, input_shape=(T, 2)), 0.01)
trials = []
for learning_rate in (0.01, 0.001):
    print(f"SimpleRNN, learning rate {learning_rate}")
    trials.append(train(SimpleRNN(units, input_shape=(T, 2)), learning_rate))
rnn, rnn_error = min(trials, key=lambda trial: trial[1])

# %% [markdown]
# ## After training
# In the LSTM that has learned the task, the gradient of the cell state c hardly changes over all the steps: the forget
# gates have opened, and c_t = f ∘ c_{t-1} + i ∘ C~ (lstm.6) hands the error back nearly unchanged. That is the
# *constant error carousel* that the LSTM was invented for. The simple network has no such path, its gradient still
# vanishes, and so it never learns that the marker matters.

# %%
after = named_norms({"SimpleRNN": rnn, "LSTM": lstm})
plots.gradient_norms(after, out / "gradient_norms_after.png")

print(f"\nmean squared error on 1000 new sequences of {T} steps")
for name, error in {"always answering 1": baseline, "SimpleRNN": rnn_error, "LSTM": lstm_error}.items():
    print(f"  {name:<20} {error:.4f}")
print("\ngradient norm at the first step / just before the last")
for name, norms in after.items():
    print(f"  {name:<20} {norms[0] / norms[-1]:.0e}")
print(f"\npictures: {out}/gradient_norms_before.png, {out}/gradient_norms_after.png")
