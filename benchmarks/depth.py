"""Does depth pay? Two machines of equal training time on the same test images.

The machines are those that `benchmarks/mnist.py` saves, the first of one hidden layer,
whose log-likelihood is exact but for log Z. Printed are the mean differences of the
second to the first on the 10,000 test images, binarised once, with standard errors over
the images and of both log Z: of the mean-field bound, of the bound of one draw, and of
importance-weighted estimates of more and more draws. And whether the upper weights
live: how much worse the second machine is without them.

Run: python benchmarks/depth.py one.npz two.npz [--data mnist.npz]
"""

import numpy as np
from _data import load_mnist, parser
from _judging import Judgement

from skdbm import DeepBoltzmannMachine, Likelihood


def without_top(machine):
    """Make the machine of the lower layers, the top one cut off."""
    return DeepBoltzmannMachine(
        machine.weights[:-1], machine.biases[:-1], machine.units[:-1]
    )


def main():
    """Print the differences."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("machines", nargs=2, help="files of the two machines")
    n_chains = Likelihood().n_chains
    cli.add_argument("--chains", type=int, default=n_chains, help="of the annealing")
    cli.add_argument("--estimated-rows", type=int, default=2000)
    cli.add_argument("--draws", type=int, nargs="+", default=[10, 100, 1000])
    options = cli.parse_args()
    X = load_mnist(options.data)[2]
    rows = (np.random.default_rng(0).random(X.shape) < X).astype(np.float32)
    settings = {
        "n_estimated": options.estimated_rows,
        "n_chains": options.chains,
        "draws": options.draws,
    }
    one, two = map(DeepBoltzmannMachine.load, options.machines)
    first, second = (Judgement(machine, rows, **settings) for machine in (one, two))
    print(f"{options.machines[0]}: {first.bound.mean():.3f} +- {first.error:.3f} nats")
    bound, drawn, *estimates = second.differences(first)
    print(f"difference to it of {options.machines[1]}:")
    print(f"  mean-field bound: {bound}\n  bound of one draw: {drawn}")
    for n_draws, estimate in zip(options.draws, estimates, strict=True):
        print(f"  first {options.estimated_rows} images, {n_draws} draws: {estimate}")
    without = Judgement(without_top(two), rows, **settings).differences(first)
    print(f"  without its top layer: {without[0]}")


if __name__ == "__main__":
    main()
