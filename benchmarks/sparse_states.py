"""Do sparse products of the chains' binary states pay, without a compiler?

Draws chains of a trained machine, and prints the share of ones in the states of every
layer. Then every product of a Gibbs sweep, states times weights to a neighbouring
layer, is timed for some chains on one thread: dense (float32, preallocated output), and
by `scipy.sparse`, states in CSR format times dense weights, with and without the
conversion of the states to that format. Transposed weights are copied to C order
beforehand for the sparse product, which would copy them at each call. The ratios of
the rounds to the dense product and their spread are printed: below 1, sparse pays.

Run: python benchmarks/sparse_states.py [--machine machine.npz] [--data mnist.npz]
Without --machine one is trained on MNIST for a minute. Hidden units begin mostly off,
so what decides is the density of a machine that has learned for long.
"""

import numpy as np
from _data import load_mnist, parser, trained_machine
from _timing import interleaved, ratios, spread, timed
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from skdbm.sampling import gibbs_sweeps, initial_states


def repeated(work, n_calls):
    """Make a function that calls `work` some times."""

    def calls():
        for _ in range(n_calls):
            work()

    return calls


def time_product(states, weight, n_rounds, n_calls):
    """Time one product: ratios to dense of sparse, and of sparse with conversion."""
    out = np.empty((len(states), weight.shape[1]), np.float32)
    sparse, contiguous = csr_array(states), np.ascontiguousarray(weight)
    works = {
        "dense": lambda: np.matmul(states, weight, out=out),
        "sparse": lambda: sparse @ contiguous,
        "converted": lambda: csr_array(states) @ contiguous,
    }
    times = interleaved(
        {name: timed(repeated(work, n_calls)) for name, work in works.items()},
        n_rounds,
        show=False,
    )
    return [ratios(times, name, "dense") for name in ("sparse", "converted")]


def main():
    """Print densities and ratios."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--machine", help="file of a trained machine")
    cli.add_argument("--chains", type=int, nargs="+", default=[100, 200])
    cli.add_argument("--sweeps", type=int, default=1000, help="before the states count")
    cli.add_argument("--rounds", type=int, default=7)
    cli.add_argument("--calls", type=int, default=50, help="of a product in a round")
    options = cli.parse_args()
    X = None if options.machine else load_mnist(options.data)[0]
    machine = trained_machine(options.machine, X)
    states = initial_states(machine, max(options.chains), np.random.default_rng(0))
    gibbs_sweeps(machine, states, options.sweeps, random_state=0)
    print(f"{machine}, chains after {options.sweeps} sweeps")
    for layer, state in enumerate(states):
        print(f"layer {layer}: {state.mean():.3f} of the states are ones")
    products = [
        product
        for layer, weight in enumerate(machine.weights)
        for product in ((layer, layer + 1, weight), (layer + 1, layer, weight.T))
    ]
    with threadpool_limits(1):
        for n_chains in options.chains:
            for source, target, weight in products:
                rows = states[source][:n_chains]
                plain, converted = time_product(
                    rows, weight, options.rounds, options.calls
                )
                print(
                    f"{n_chains} chains, layer {source} to {target}, sparse / dense: "
                    f"{spread(plain)}, with conversion {spread(converted)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
