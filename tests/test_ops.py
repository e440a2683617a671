"""Kernels: draws are distributed as they should, whatever generator and layout."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from skdbm import ops
from skdbm.ops import generator, random, threads

from ._reference import largest_error

SEEDS = [0, 1, 2]

#: More than one portion of draws, and an odd number of them.
SHAPE = (7, random.DRAWS_AT_ONCE // 4 + 1)

#: The generator of this package, which draws two numbers at a time, and others, one of
#: which gives 32 bits at a time.
GENERATORS = {
    "SFC64": generator,
    "PCG64": np.random.default_rng,
    "MT19937": lambda seed: np.random.Generator(np.random.MT19937(seed)),
}


@pytest.fixture(params=GENERATORS)
def rng_of(request):
    return GENERATORS[request.param]


@pytest.fixture(params=["float32", "float64", "columns of float32"])
def empty(request):
    """Give a function that makes an array to write to, of some dtype and layout."""
    if "columns" in request.param:
        return lambda shape: np.empty((shape[0], 2 * shape[1]), np.float32)[:, ::2]
    return lambda shape: np.empty(shape, request.param)


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform(rng_of, empty, seed):
    out = empty(SHAPE)
    draws = ops.uniform(rng_of(seed), out)
    assert draws is out
    assert draws.min() >= 0
    assert draws.max() < 1
    flat = draws.astype(np.float64).ravel()
    n = flat.size
    for power in (1, 2, 3):
        mean = 1 / (power + 1)
        std = np.sqrt(1 / (2 * power + 1) - mean**2)
        assert abs(np.mean(flat**power) - mean) < largest_error(std, n)
    # neighbours come from one raw number, and portions meet somewhere
    for lag in (1, 2, random.DRAWS_AT_ONCE):
        products = (flat[:-lag] - 0.5) * (flat[lag:] - 0.5)
        # Each draw is in two products. Of every second run of `lag` products, no two
        # have a draw in common.
        chosen = products[np.arange(products.size) // lag % 2 == 0]
        assert abs(chosen.mean()) < largest_error(1 / 12, chosen.size, 0.25)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bit", range(24))
def test_every_bit_of_a_float32_draw_is_a_fair_coin(seed, bit):
    out = np.empty(SHAPE, np.float32)
    numbers = (ops.uniform(generator(seed), out) * 2**24).astype(np.int64)
    heads = numbers >> bit & 1
    assert abs(heads.mean() - 0.5) < largest_error(0.5, heads.size)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("in_place", [False, True])
def test_bernoulli(rng_of, empty, in_place, seed):
    """Also where ones are rare: 1e-4 here, and never or always at the ends."""
    fields = np.array([-np.inf, -1000, -100, -9.2, -2, 0, 0.5, 9.2, 100, np.inf])
    field = empty((20_000, len(fields)))
    field[...] = fields
    rng = rng_of(seed)
    if in_place:
        scratch = empty(field.shape)
        states = ops.bernoulli(field, rng, out=field, scratch=scratch)
        assert states is field
    else:
        states = ops.bernoulli(field, rng)
        assert (field == fields.astype(field.dtype)).all()
    assert states.dtype == field.dtype
    assert np.isin(states, [0, 1]).all()
    p = expit(fields)
    error = np.abs(states.mean(axis=0, dtype=np.float64) - p)
    assert (error < largest_error(np.sqrt(p * (1 - p)), len(states))).all()
    assert not states[:, :3].any()
    assert states[:, 8:].all()


def test_draws_do_not_repeat():
    rng, out = generator(0), np.empty(SHAPE, np.float32)
    first = ops.uniform(rng, out).copy()
    second = ops.uniform(rng, out)
    assert np.mean(first == second) < 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid(dtype):
    x = np.array([-np.inf, -1000, -30, -1, 0, 1, 30, 1000, np.inf], dtype)
    assert_allclose(ops.sigmoid(x), expit(x), rtol=4 * np.finfo(dtype).eps, atol=0)
    out = np.empty_like(x)
    assert ops.sigmoid(x, out=out) is out


@pytest.mark.parametrize("most", [1, 5, 64, 128, 131])
@pytest.mark.parametrize("n_rows", [1, 2, 15, 16, 100, 127, 128, 129, 150, 1000])
def test_row_blocks_cover_all_rows_once(n_rows, most):
    blocks = ops.row_blocks(n_rows, most)
    rows = [row for block in blocks for row in range(block.start, block.stop)]
    assert rows == list(range(n_rows))
    lengths = [block.stop - block.start for block in blocks]
    assert min(lengths) > 0
    assert max(lengths) <= most + threads.TILE_ROWS / 2
    if most >= 64:
        assert all(length % threads.TILE_ROWS == 0 for length in lengths[:-1])


def test_blocks_of_small_machines_are_wide():
    assert ops.most_chains(10**6, 64) == 64
    for n_units in (10, 100, 1000):
        assert ops.most_chains(n_units, 64) * n_units <= threads.BLOCK_STATES
        assert (ops.most_chains(n_units, 64) + 1) * n_units > threads.BLOCK_STATES


def test_products_tell_of_overflow_alone():
    """Of invalid operations BLAS tells where there are none, so NaN has to speak."""
    assert np.isnan(ops.product(np.full((2, 3), np.inf), np.zeros((3, 2)))).all()
    with pytest.warns(RuntimeWarning, match="overflow"):
        ops.product(np.full((2, 3), 1e300), np.full((3, 2), 1e300))
