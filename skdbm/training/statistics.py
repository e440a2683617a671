"""What the two phases measure, and the centred gradient made of it.

The gradient of the log-likelihood by W_l is the difference of two averages of
s_l^T s_{l+1}: over the data with mean-field means for the hidden layers, and over the
persistent chains. With offsets a_l subtracted from every layer it is better
conditioned and does not care whether ones and zeros are swapped [1]_, [2]_:

    dW_l = sum_r c_r (s_l - a_l)_r^T (s_{l+1} - a_{l+1})_r,
    db_l = sum_r c_r s_l,r - dW_l a_{l+1} - dW_{l-1}^T a_{l-1},

where c_r is 1/n for the n rows of data and -1/m for the m chains. Both phases stand
in one matrix, so a single product, with twice the rows and no difference to take
afterwards, gives dW_l. Since the c_r sum to zero, it is enough to centre the right
factor and to append a_l as one more row of the left one.

.. [1] G. Montavon and K.-R. Mueller, "Deep Boltzmann machines and the centering
   trick", 2012.
.. [2] J. Melchior, A. Fischer and L. Wiskott, "How to center deep Boltzmann
   machines", JMLR 17, 2016.
"""

from itertools import pairwise

import numpy as np

from .. import inference, sampling


class Statistics:
    """Rows of both phases: chains first, then data, then one row for the offsets."""

    def __init__(self, layer_sizes, n_chains, n_data, dtype):
        n_rows = n_chains + n_data + 1
        self.n_chains = n_chains
        #: States or means of every layer.
        self.left = [np.empty((n_rows, size), dtype) for size in layer_sizes]
        #: The same centred and multiplied by c_r, for the hidden layers.
        self.right = [None, *(np.empty_like(left) for left in self.left[1:])]
        #: Room for intermediate values of the same shapes.
        self.scratch = [np.empty_like(left) for left in self.left]
        #: Gradients of the weights, and room of the same shapes.
        shapes = list(pairwise(layer_sizes))
        self.gradients = [np.empty(shape, dtype) for shape in shapes]
        self.weight_scratch = [np.empty(shape, dtype) for shape in shapes]
        #: The part of the first hidden layer's field that comes from the data.
        self.constant = np.empty_like(self.left[1])

    def data_rows(self, block):
        """Where a block of data rows stands."""
        return slice(self.n_chains + block.start, self.n_chains + block.stop)

    def close(self, offsets, n_data):
        """Finish a batch of `n_data` rows; both phases have been measured."""
        end = self.n_chains + n_data
        for left, right, offset in zip(self.left, self.right, offsets, strict=True):
            left[end] = offset
            if right is not None:
                np.negative(np.sum(right[:end], axis=0), out=right[end])

    def weight_gradient(self, layer, rows, n_data):
        """Rows of dW_l."""
        end = self.n_chains + n_data + 1
        left = self.left[layer][:end, rows]
        out = self.gradients[layer][rows]
        return np.matmul(left.T, self.right[layer + 1][:end], out=out)

    def bias_gradients(self, offsets, n_data):
        """All db_l, from products of matrices with vectors."""
        m, end = self.n_chains, self.n_chains + n_data + 1
        share = np.empty(end - 1, self.left[0].dtype)
        share[:m], share[m:] = -1 / m, 1 / n_data
        gradients = [share @ self.left[0][: end - 1]]
        gradients += [-right[end - 1] for right in self.right[1:]]
        for layer, gradient in enumerate(gradients):
            if layer + 1 < len(gradients):
                above = self.right[layer + 1][:end] @ offsets[layer + 1]
                gradient -= above @ self.left[layer][:end]
            if layer > 0:
                below = self.left[layer - 1][:end] @ offsets[layer - 1]
                gradient -= below @ self.right[layer][:end]
        return gradients

    def data_means(self, n_data):
        """Mean of every layer over the data rows."""
        share = np.full(n_data, 1 / n_data, self.left[0].dtype)
        rows = self.data_rows(slice(0, n_data))
        return [share @ left[rows] for left in self.left]

    def phase(self, rows):
        """States of every layer in some rows."""
        return [left[rows] for left in self.left]

    def centre(self, rows, offsets, share):
        """Fill the right factor of some rows."""
        for left, right, offset in zip(self.left, self.right, offsets, strict=True):
            if right is not None:
                np.subtract(left[rows], offset, out=right[rows])
                right[rows] *= share


def data_phase(machine, statistics, rows, *, n_sweeps, tol):
    """Settle the hidden layers of some rows by mean field; the sweeps it took.

    The rows share one stopping rule, the largest change in the first hidden layer: an
    approximate posterior is good enough for a gradient.
    """
    states = statistics.phase(rows)
    scratch = [array[rows] for array in statistics.scratch]
    constant = statistics.constant[rows]
    np.matmul(states[0], machine.weights[0], out=constant)
    constant += machine.biases[1]
    inference.bottom_up(machine, states, constant)
    if machine.n_layers == 2:
        return 1
    free = inference.hidden_layers(machine)
    before = statistics.right[1][rows]  # free until the rows are centred
    for n_done in range(1, n_sweeps + 1):  # noqa: B007 (returned)
        if tol > 0:
            np.copyto(before, states[1])
        inference.sweep(machine, states, free, scratch, constant)
        if tol > 0:
            np.subtract(before, states[1], out=before)
            if max(before.max(), -before.min()) < tol:
                break
    return n_done


def chain_phase(machine, statistics, chains, rows, rng, *, n_sweeps):
    """Advance some persistent chains and measure them.

    The last half sweep enters the statistics by its means rather than its draws: the
    odd layers are independent given the even ones, so every pair of neighbours keeps
    its expectation and loses variance.
    """
    states = [chain[rows] for chain in chains]
    scratch = [array[rows] for array in statistics.scratch]
    measured = statistics.phase(rows)
    for n_done in range(1, n_sweeps + 1):
        sampling.draw_parity(machine, states, 0, rng, scratch)
        if n_done < n_sweeps:
            sampling.draw_parity(machine, states, 1, rng, scratch)
    for layer, (state, target) in enumerate(zip(states, measured, strict=True)):
        if layer % 2 == 0:
            np.copyto(target, state)
        else:
            unit = machine.units[layer]
            field = machine.field(layer, states, out=state, scratch=scratch[layer])
            unit.mean(field, out=target)
            unit.sample(field, rng, out=field, scratch=scratch[layer])
