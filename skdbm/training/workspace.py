"""Working memory of an update, and the centred gradient that is made in it.

The gradient of the log-likelihood by W_l is the difference of two averages of
s_l^T s_{l+1}: over the data with posterior means for the hidden layers, and over the
persistent chains. With offsets a_l subtracted from every layer it is better
conditioned and does not care whether ones and zeros are swapped [1]_, [2]_:

    dW_l = sum_r c_r (s_l - a_l)_r^T (s_{l+1} - a_{l+1})_r,
    db_l = sum_r c_r s_l,r - dW_l a_{l+1} - dW_{l-1}^T a_{l-1},

where c_r is 1/n for the n rows of data and minus the weight of each of the m chains,
1/m if they count alike. Both phases stand
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

from .. import ops
from .._typing import FloatArray


class Workspace:
    """Rows of both phases: m chains first, then n rows of data, then the offsets.

    Allocated once and used for every batch: both phases fill rows of `left`, `centre`
    those of `right`, `close` adds the row for the offsets, and the gradients are
    products of the two. Blocks of rows, and of weights, are independent of each other
    and may be done by different threads.
    """

    def __init__(
        self, layer_sizes: Sequence[int], n_chains: int, n_data: int, dtype: Any
    ) -> None:
        n_rows = n_chains + n_data + 1
        self.n_chains, self.n_data = n_chains, n_data
        self.left = [ops.empty((n_rows, size), dtype) for size in layer_sizes]
        # The visible layer is the right factor of no gradient.
        self.right: list[Any] = [None, *(ops.empty_like(x) for x in self.left[1:])]
        self.scratch = [ops.empty_like(left) for left in self.left]
        self.fixed = ops.empty_like(self.left[1])  # fields from known visible states
        shapes = list(pairwise(layer_sizes))
        self.gradients = [ops.empty(shape, dtype) for shape in shapes]
        self.weight_scratch = [ops.empty(shape, dtype) for shape in shapes]

    def data_rows(self, block: slice) -> slice:
        """Where a block of rows of the batch stands."""
        return slice(self.n_chains + block.start, self.n_chains + block.stop)

    def phase(self, rows: slice) -> list[FloatArray]:
        """States or means of every layer in some rows, views of `left`."""
        return [left[rows] for left in self.left]

    def centre(
        self, rows: slice, offsets: Sequence[FloatArray], share: float | FloatArray
    ) -> None:
        """Fill the right factor of some rows: c_r (s_l - a_l), with `share` for c_r."""
        for layer in range(1, len(self.left)):
            right = self.right[layer][rows]
            ops.subtract(self.left[layer][rows], offsets[layer], out=right)
            right *= share

    def close(self, offsets: Sequence[FloatArray], n_data: int) -> None:
        """Add the row of the offsets: a_l on the left, minus the sum on the right."""
        end = self.n_chains + n_data
        for left, right, offset in zip(self.left, self.right, offsets, strict=True):
            left[end] = offset
            if right is not None:
                ops.negative(ops.sum(right[:end], axis=0), out=right[end])

    def weight_gradient(self, layer: int, rows: slice, n_data: int) -> FloatArray:
        """Rows of dW_l for a batch of n rows, a view of `gradients`."""
        end = self.n_chains + n_data + 1
        left = self.left[layer][:end, rows]
        out = self.gradients[layer][rows]
        return ops.matmul(left.T, self.right[layer + 1][:end], out=out)

    def bias_gradients(
        self, offsets: Sequence[FloatArray], n_data: int, of_chains: FloatArray
    ) -> list[FloatArray]:
        """All db_l, without any dW_l; `of_chains` are the weights of the chains."""
        m, end = self.n_chains, self.n_chains + n_data + 1
        share = ops.empty(end - 1, self.left[0].dtype)
        share[:m], share[m:] = -of_chains, 1 / n_data
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
        """Mean of every layer over the rows of the data."""
        share = ops.full(n_data, 1 / n_data, self.left[0].dtype)
        return [share @ left for left in self.phase(self.data_rows(slice(0, n_data)))]
