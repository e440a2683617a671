"""Random streams: seeds that know where they come from, generators, draws."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from .._typing import FloatArray, Rng, Seed

#: Draws of this many numbers are made at once, so that what comes between stays in
#: the cache.
DRAWS_AT_ONCE = 2**15

#: Float32 draws are multiples of one over this, as those of `numpy.random.Generator`.
RESOLUTION = 2**24


def generator(seed: Seed | Rng) -> Rng:
    """Make the generator that all of skdbm draws from: SFC64, numpy's fastest."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.SFC64(seed))


def seed_sequence(random_state: Seed | Rng) -> np.random.SeedSequence:
    """Make a fresh seed sequence, so that spawning does not change the caller's.

    A generator gives another one at each call.
    """
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(2**32, size=4).tolist())
    if isinstance(random_state, np.random.SeedSequence):
        return np.random.SeedSequence(
            random_state.entropy, spawn_key=random_state.spawn_key
        )
    return np.random.SeedSequence(random_state)


def copied(rng: Rng) -> Rng:
    """Copy one of our generators, several times as fast as `copy.deepcopy`."""
    result = generator(0)
    result.bit_generator.state = rng.bit_generator.state
    return result


def streams(seed: np.random.SeedSequence, n: int) -> list[Rng]:
    """Spawn generators that are independent of each other, one for each block."""
    return [generator(child) for child in seed.spawn(n)]


def streams_of_rows(seed: np.random.SeedSequence, rows: FloatArray) -> list[Rng]:
    """Make a generator for each row, which follows from its values alone."""
    # Three decimals of them, in float32: rounding in what came before does not count.
    # Adding 0 makes a negative zero a positive one, whose bytes are others.
    values = np.ascontiguousarray(np.round(rows, 3) + 0.0, dtype=np.float32)
    keys = (hashlib.blake2b(row, digest_size=16).digest() for row in values)
    return [
        generator(
            np.random.SeedSequence(
                seed.entropy,
                spawn_key=(*seed.spawn_key, *np.frombuffer(key, np.uint32).tolist()),
            )
        )
        for key in keys
    ]


def spawn(
    rng: np.random.RandomState, n_streams: int, key: int = 0
) -> list[np.random.SeedSequence]:
    """Turn a RandomState into independent seeds, others for another key."""
    entropy = [int(word) for word in rng.randint(0, 2**32, size=4, dtype=np.uint32)]
    return np.random.SeedSequence([*entropy, key]).spawn(n_streams)


def uniform(rng: Rng, out: npt.NDArray[Any]) -> FloatArray:
    """Fill `out` with draws from the uniform distribution on [0, 1)."""
    if _draws_integers(rng, out):
        out = _integers(rng, out)
        return np.multiply(out, 1 / RESOLUTION, out=out)
    if out.flags.c_contiguous:
        return rng.random(out=out, dtype=out.dtype)
    out[...] = rng.random(out.shape, dtype=out.dtype)
    return out


def _draws_integers(rng: Rng, out: FloatArray) -> bool:
    """Whether draws may come from raw bits: of a known generator, for float32."""
    suits = out.dtype == np.float32 and out.flags.c_contiguous
    return suits and isinstance(rng.bit_generator, np.random.SFC64)


def _integers(rng: Rng, out: FloatArray) -> FloatArray:
    """Fill a float32 array with whole numbers drawn from 0 to `RESOLUTION` - 1."""
    # Two draws from each raw number of 64 bits take half the time of `rng.random`.
    flat = out.reshape(-1)
    for start in range(0, flat.size, DRAWS_AT_ONCE):
        part = flat[start : start + DRAWS_AT_ONCE]
        bits = rng.bit_generator.random_raw(-(-part.size // 2)).view(np.uint32)
        bits >>= 8
        np.copyto(part, bits[: part.size], casting="unsafe")
    return out


def normal(rng: Rng, out: npt.NDArray[Any]) -> FloatArray:
    """Fill `out` with draws from the standard normal distribution."""
    if out.flags.c_contiguous:
        return rng.standard_normal(out=out, dtype=out.dtype)
    out[...] = rng.standard_normal(out.shape, dtype=out.dtype)
    return out


def gumbel(rng: Rng, out: npt.NDArray[Any]) -> FloatArray:
    """Fill `out` with noise -log(-log(1 - u)): the largest field then is softmax."""
    out = uniform(rng, out)
    np.subtract(1.0, out, out=out)
    np.log(out, out=out)
    # Half a step of u stands for none, or its noise would be infinite.
    np.minimum(out, -np.finfo(out.dtype).eps / 4, out=out)
    np.negative(out, out=out)
    np.log(out, out=out)
    return np.negative(out, out=out)


def bernoulli(
    field: FloatArray,
    rng: Rng,
    out: FloatArray | None = None,
    scratch: FloatArray | None = None,
) -> FloatArray:
    """Draw 0 or 1 with P(1) = sigmoid(field); `scratch` holds the uniform draws."""
    # u (1 + exp(-x)) < 1 equals u < sigmoid(x) and saves a division; whole numbers for
    # u, with their range for 1, save a multiplication, too.
    if scratch is None:
        scratch = np.empty_like(field)
    if _draws_integers(rng, scratch):
        _integers(rng, scratch)
        one = float(RESOLUTION)
    else:
        uniform(rng, scratch)
        one = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        out = np.negative(field, out=out)
        np.exp(out, out=out)
        np.add(out, 1.0, out=out)
        # 0 * inf is nan and compares as False: the state 0 that is wanted.
        np.multiply(out, scratch, out=out)
        return np.less(out, one, out=out)
