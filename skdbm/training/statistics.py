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

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import inference, sampling
from .._typing import BoolArray, FloatArray, Rng
from ..machine import DeepBoltzmannMachine


class Statistics:
    """Rows of both phases: chains first, then data, then one row for the offsets.

    It is the working memory of an update, allocated once and used for every batch.
    A batch goes through it in this order: both phases fill rows of `left`
    (`data_phase`, `chain_phase`), `centre` fills those of `right`, `close` adds the
    row for the offsets, and the gradients are products of the two. Blocks of rows,
    and of weights, are independent of each other and may be done by different threads.

    Parameters
    ----------
    layer_sizes : sequence of L + 1 ints
        Number of units in every layer, the visible one first.
    n_chains : int
        Number m of chains.
    n_data : int
        Most rows n of data in a batch.
    dtype : dtype
        Dtype of all arrays, that of the machine.

    Attributes
    ----------
    n_chains : int
        Number m of chains.
    left : list of L + 1 ndarrays of shape (n_chains + n_data + 1, n_l)
        States or means of every layer. A batch with fewer rows of data leaves the end
        unused.
    right : list of None and L ndarrays of the same shapes
        The same centred and multiplied by c_r, for the hidden layers.
    scratch : list of L + 1 ndarrays of the same shapes
        Room for intermediate values.
    gradients : list of L ndarrays of shape (n_l, n_{l+1})
        Gradients of the weights.
    weight_scratch : list of L ndarrays of the same shapes
        Room for intermediate values.
    constant : ndarray of shape (n_chains + n_data + 1, n_1)
        The part of the first hidden layer's field that comes from the data.

    See Also
    --------
    data_phase : Fills the rows of the data.
    chain_phase : Fills the rows of the chains.
    skdbm.training.trainer.Trainer : Uses the gradients.

    Examples
    --------
    In the data the hidden unit agrees with both visible ones; in the chains it agrees
    with the first and contradicts the second. So the second weight has to grow.

    >>> import numpy as np
    >>> from skdbm.training.statistics import Statistics
    >>> statistics = Statistics((2, 1), n_chains=2, n_data=2, dtype=np.float64)
    >>> chains, data = slice(0, 2), statistics.data_rows(slice(0, 2))
    >>> statistics.left[0][chains], statistics.left[1][chains] = np.eye(2), [[1], [0]]
    >>> statistics.left[0][data], statistics.left[1][data] = [[1], [0]], [[1], [0]]
    >>> offsets = [np.full(2, 0.5), np.full(1, 0.5)]
    >>> statistics.centre(chains, offsets, -1 / 2)
    >>> statistics.centre(data, offsets, 1 / 2)
    >>> statistics.close(offsets, n_data=2)
    >>> statistics.weight_gradient(0, slice(None), n_data=2)
    array([[0. ],
           [0.5]])
    """

    n_chains: int
    left: list[FloatArray]
    right: list[FloatArray | Any]
    scratch: list[FloatArray]
    gradients: list[FloatArray]
    weight_scratch: list[FloatArray]
    constant: FloatArray

    def __init__(
        self,
        layer_sizes: Sequence[int],
        n_chains: int,
        n_data: int,
        dtype: npt.DTypeLike,
    ) -> None:
        n_rows = n_chains + n_data + 1
        self.n_chains = n_chains
        self.left = [np.empty((n_rows, size), dtype) for size in layer_sizes]
        self.right = [None, *(np.empty_like(left) for left in self.left[1:])]
        self.scratch = [np.empty_like(left) for left in self.left]
        shapes = list(pairwise(layer_sizes))
        self.gradients = [np.empty(shape, dtype) for shape in shapes]
        self.weight_scratch = [np.empty(shape, dtype) for shape in shapes]
        self.constant = np.empty_like(self.left[1])

    def data_rows(self, block: slice) -> slice:
        """Tell where a block of data rows stands.

        Parameters
        ----------
        block : slice
            Rows of the batch, with start and stop.

        Returns
        -------
        slice
            The rows of the arrays.
        """
        return slice(self.n_chains + block.start, self.n_chains + block.stop)

    def close(self, offsets: Sequence[FloatArray], n_data: int) -> None:
        """Finish a batch once both phases have been measured and centred.

        The row after the data gets the offsets in the left factor and minus the sum of
        all other rows in the right one.

        Parameters
        ----------
        offsets : sequence of L + 1 arrays of shape (n_l,)
            The offsets a_l of every layer, those that the rows were centred with.
        n_data : int
            Number n of rows of data in this batch.
        """
        end = self.n_chains + n_data
        for left, right, offset in zip(self.left, self.right, offsets, strict=True):
            left[end] = offset
            if right is not None:
                np.negative(np.sum(right[:end], axis=0), out=right[end])

    def weight_gradient(self, layer: int, rows: slice, n_data: int) -> FloatArray:
        """Compute rows of dW_l.

        Parameters
        ----------
        layer : int
            Index l of the lower of the two layers that the weights join.
        rows : slice
            Rows of W_l, units of layer l.
        n_data : int
            Number n of rows of data in this batch.

        Returns
        -------
        ndarray of shape (n_rows_of_weights, n_{l+1})
            The gradient, a view of `gradients`.
        """
        end = self.n_chains + n_data + 1
        left = self.left[layer][:end, rows]
        out = self.gradients[layer][rows]
        return np.matmul(left.T, self.right[layer + 1][:end], out=out)

    def bias_gradients(
        self, offsets: Sequence[FloatArray], n_data: int
    ) -> list[FloatArray]:
        """Compute all db_l, from products of matrices with vectors.

        The gradients of the weights are not looked at, so the order does not matter.

        Parameters
        ----------
        offsets : sequence of L + 1 arrays of shape (n_l,)
            The offsets a_l of every layer, those that the rows were centred with.
        n_data : int
            Number n of rows of data in this batch.

        Returns
        -------
        list of L + 1 ndarrays of shape (n_l,)
            The gradients.
        """
        m, end = self.n_chains, self.n_chains + n_data + 1
        share = np.empty(end - 1, self.left[0].dtype)
        share[:m], share[m:] = -1 / m, 1 / n_data
        gradients: list[FloatArray] = [share @ self.left[0][: end - 1]]
        gradients += [-right[end - 1] for right in self.right[1:]]
        for layer, gradient in enumerate(gradients):
            if layer + 1 < len(gradients):
                above = self.right[layer + 1][:end] @ offsets[layer + 1]
                gradient -= above @ self.left[layer][:end]
            if layer > 0:
                below = self.left[layer - 1][:end] @ offsets[layer - 1]
                gradient -= below @ self.right[layer][:end]
        return gradients

    def data_means(self, n_data: int) -> list[FloatArray]:
        """Compute the mean of every layer over the data rows.

        Parameters
        ----------
        n_data : int
            Number n of rows of data in this batch.

        Returns
        -------
        list of L + 1 ndarrays of shape (n_l,)
            The means.
        """
        share = np.full(n_data, 1 / n_data, self.left[0].dtype)
        rows = self.data_rows(slice(0, n_data))
        return [share @ left[rows] for left in self.left]

    def phase(self, rows: slice) -> list[FloatArray]:
        """Give the states of every layer in some rows.

        Parameters
        ----------
        rows : slice
            Rows of the arrays.

        Returns
        -------
        list of L + 1 ndarrays of shape (n_rows, n_l)
            States or means, views of `left`.
        """
        return [left[rows] for left in self.left]

    def centre(self, rows: slice, offsets: Sequence[FloatArray], share: float) -> None:
        """Fill the right factor of some rows: c_r (s_l - a_l) in the hidden layers.

        Parameters
        ----------
        rows : slice
            Rows of the arrays.
        offsets : sequence of L + 1 arrays of shape (n_l,)
            The offsets a_l of every layer.
        share : float
            The factor c_r of these rows: 1/n for data, -1/m for chains.
        """
        for left, right, offset in zip(self.left, self.right, offsets, strict=True):
            if right is not None:
                np.subtract(left[rows], offset, out=right[rows])
                right[rows] *= share


def data_phase(
    machine: DeepBoltzmannMachine,
    statistics: Statistics,
    rows: slice,
    *,
    n_sweeps: int,
    tol: float,
    missing: BoolArray | None = None,
    n_gibbs_sweeps: int = 0,
    rng: Rng | None = None,
) -> tuple[int, bool]:
    """Settle the hidden layers, and visible states that are missing, by mean field.

    The rows share one stopping rule, the largest change in the first hidden layer: an
    approximate posterior is good enough for a gradient. One hidden layer needs no
    sweep if nothing is missing, its posterior is exact.

    Gibbs sweeps may follow, the first from a draw of the odd layers given the means of
    the even ones. The statistics then have what mean field leaves out, that units of
    one row are correlated. As in `chain_phase`, the odd layers enter by their means
    given the drawn even ones.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    statistics : Statistics
        Where the means of the hidden layers go; the visible states stand there
        already.
    rows : slice
        Rows of the arrays of `statistics`.
    n_sweeps : int
        Most sweeps, at least 1.
    tol : float
        The first sweep that changes no mean of the first hidden layer by as much is
        the last one; 0 means that all `n_sweeps` are made.
    missing : ndarray of bool of shape (n_rows, n_0), default=None
        Which visible states are missing; they are overwritten by their means, or by
        draws. None means none.
    n_gibbs_sweeps : int, default=0
        Number of Gibbs sweeps over what is not known that follow.
    rng : numpy.random.Generator, default=None
        Source of their draws.

    Returns
    -------
    n_sweeps : int
        Number of mean-field sweeps taken, 1 where the posterior is exact.
    converged : bool
        Whether `tol` was reached, or the posterior is exact.

    See Also
    --------
    chain_phase : The other phase.
    skdbm.inference.mean_field : Stops each row by itself, for results that matter.

    Examples
    --------
    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.statistics import Statistics, data_phase
    >>> machine = DeepBoltzmannMachine(
    ...     [np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2), np.zeros(2)]
    ... )
    >>> statistics = Statistics((2, 2, 2), n_chains=0, n_data=1, dtype=np.float64)
    >>> rows = statistics.data_rows(slice(0, 1))
    >>> statistics.left[0][rows] = [[0, 1]]
    >>> data_phase(machine, statistics, rows, n_sweeps=10, tol=0)
    (10, False)
    >>> data_phase(machine, statistics, rows, n_sweeps=10, tol=0.01)
    (2, True)
    >>> statistics.left[1][rows].round(2)
    array([[0.66, 0.85]])
    """
    states = statistics.phase(rows)
    scratch = [array[rows] for array in statistics.scratch]
    constant = statistics.constant[rows]
    np.matmul(states[0], machine.weights[0], out=constant)
    constant += machine.biases[1]
    inference.bottom_up(machine, states, constant)
    free = inference.hidden_layers(machine)
    fixed: FloatArray | None = constant
    held: tuple[BoolArray, FloatArray] | None = None
    if missing is not None and missing.any():
        free, held, fixed = [0, *free], (~missing, states[0].copy()), None
    elif machine.n_layers == 2:
        return 1, True
    before = statistics.right[1][rows]  # free until the rows are centred
    n_done, converged = 0, False
    while n_done < n_sweeps and not converged:
        if tol > 0:
            np.copyto(before, states[1])
        inference.sweep(machine, states, free, scratch, fixed, held)
        n_done += 1
        if tol > 0:
            np.subtract(before, states[1], out=before)
            converged = bool(max(before.max(), -before.min()) < tol)
    if rng is not None and n_gibbs_sweeps:
        clamped = [0] if held is None else []
        sampling.draw_parity(machine, states, 1, rng, scratch, constant=fixed)
        for n_left in reversed(range(n_gibbs_sweeps)):
            sampling.draw_parity(machine, states, 0, rng, scratch, clamped)
            if held is not None:
                np.copyto(states[0], held[1], where=held[0])
            if n_left:
                sampling.draw_parity(machine, states, 1, rng, scratch, constant=fixed)
        odd = [layer for layer in free if layer % 2]
        inference.sweep(machine, states, odd, scratch, fixed)
    return n_done, converged


def chain_phase(
    machine: DeepBoltzmannMachine,
    statistics: Statistics,
    chains: Sequence[FloatArray],
    rows: slice,
    rng: Rng,
    *,
    n_sweeps: int,
) -> None:
    """Advance some persistent chains and measure them.

    The last half sweep enters the statistics by its means rather than its draws: the
    odd layers are independent given the even ones, so every pair of neighbours keeps
    its expectation and loses variance.

    Parameters
    ----------
    machine : DeepBoltzmannMachine
        The machine.
    statistics : Statistics
        Where states of the even layers and means of the odd ones go.
    chains : list of L + 1 ndarrays of shape (n_chains, n_l)
        States of every layer, one chain a row; those of `rows` are overwritten.
    rows : slice
        The chains to advance. They stand in the same rows of `statistics`.
    rng : numpy.random.Generator
        Source of the draws.
    n_sweeps : int
        Number of Gibbs sweeps, at least 1.

    See Also
    --------
    data_phase : The other phase.
    skdbm.sampling.gibbs_sweeps : Advances chains without measuring them.

    Examples
    --------
    The chains go on with drawn states; the statistics get a mean for the odd layer.

    >>> import numpy as np
    >>> from skdbm.machine import DeepBoltzmannMachine
    >>> from skdbm.training.statistics import Statistics, chain_phase
    >>> machine = DeepBoltzmannMachine([np.zeros((1, 1))], [np.full(1, 99.0), [0.0]])
    >>> statistics = Statistics((1, 1), n_chains=3, n_data=0, dtype=np.float64)
    >>> chains, rows = [np.zeros((3, 1)), np.zeros((3, 1))], slice(0, 3)
    >>> rng = np.random.default_rng(0)
    >>> chain_phase(machine, statistics, chains, rows, rng, n_sweeps=2)
    >>> v, h = statistics.phase(rows)
    >>> v.ravel(), h.ravel()
    (array([1., 1., 1.]), array([0.5, 0.5, 0.5]))
    >>> bool(np.isin(chains[1], [0, 1]).all())
    True
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
