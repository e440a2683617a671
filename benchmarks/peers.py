"""How fast do others train, against skdbm?

Two hidden layers: a binary 784-500-1000 DBM with minibatches of 100 rows, 10 mean-field
sweeps, 100 persistent chains with 5 Gibbs sweeps, gradient, momentum. The peer is the
same step written directly in PyTorch (`_torch_dbm.py`), eager and, where that works, by
`torch.compile`. It has neither skdbm's centred gradient nor its average of the weights
nor its monitoring, so it has a little less to do.

One hidden layer: 784-500 with the same batch, chains and Gibbs steps, persistent
chains for `rbms`, whose own step is used without the file it writes at each; chains
that start at the data for `learnergy`, which has no others. Both do more matrix
products a minibatch than skdbm does, so there are two ratios: at equal settings, and
at equal matrix work.

Everything is float32 on the CPU, with the threads that each takes by itself. Each round
times one epoch of everybody, one after the other; peers have one more before, in which
some compile. Peers that are not installed are named and skipped.

Run: python benchmarks/peers.py [--data mnist.npz] [--rounds 5] [--rows 10000]
Peers: pip install torch rbms learnergy
"""

from importlib.metadata import version

import numpy as np
from _data import load_mnist, parser
from _timing import interleaved, ratios, spread, timed
from _training import GIBBS, ROWS, SIZES, SWEEPS, time_fit

#: Products of all rows of a minibatch with the weights, in one step of one layer.
PRODUCTS = {
    "skdbm RBM": 1 + 2 * GIBBS + 2,  # data, chains, gradient
    "rbms": 1 + (2 * GIBBS + 1) + 2,  # the chains begin with one more
    # Data, chains, two energies, their gradient, two more energies for the record.
    "learnergy": 1 + 2 * GIBBS + 2 + 2 + 2,
}


def torch_dbm(X, compiled=False):
    """Make a function that trains one epoch of the PyTorch DBM."""
    import torch
    from _torch_dbm import TorchDBM

    rows = torch.from_numpy(X)
    model = TorchDBM(SIZES, ROWS, SWEEPS, GIBBS)
    update = torch.compile(model.update) if compiled else model.update

    @torch.no_grad()
    def epoch():
        for batch in torch.randperm(len(rows)).split(ROWS):
            update(rows[batch])

    return epoch


def rbms(X):
    """Make a function that trains one epoch of `rbms`, persistent chains."""
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    rows, ones = torch.from_numpy(X), torch.ones(ROWS)
    model = BBRBM(0.01 * torch.randn(SIZES[:2]), *map(torch.zeros, SIZES[:2]))
    model.init_grad()
    chains = model.init_chains(ROWS)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, maximize=True)

    @torch.no_grad()
    def epoch():
        nonlocal chains
        for batch in torch.randperm(len(rows)).split(ROWS):
            weighted = rows[batch], ones[: len(batch)]
            chains, _ = fit_batch_pcd(weighted, chains, model, GIBBS, 1.0)
            optimizer.step()

    return epoch


def learnergy(X):
    """Make a function that trains one epoch of `learnergy`, contrastive divergence."""
    import torch
    from learnergy.models.bernoulli import RBM

    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.zeros(len(X)))
    model = RBM(*SIZES[:2], steps=GIBBS, learning_rate=0.01, momentum=0.9, decay=1e-4)
    return lambda: model.fit(data, batch_size=ROWS, epochs=1)


def available(makers, X):
    """Time functions of the peers that are there; the others are named."""
    works = {}
    for name, (package, make) in makers.items():
        try:
            epoch = make(X)
            epoch()  # not counted: some compile at the first call
            works[name] = timed(epoch)
            print(f"{name}: {package} {version(package)}", flush=True)
        except Exception as error:  # not installed, or does not work here
            reason = str(error).strip().splitlines() or [""]
            print(f"{name}: skipped ({type(error).__name__}: {reason[0]})")
    return works


def main():
    """Print the ratios."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--rows", type=int, default=10000)
    options = cli.parse_args()
    X = np.ascontiguousarray(load_mnist(options.data)[0][: options.rows])
    deep = available(
        {
            "torch eager": ("torch", torch_dbm),
            "torch compiled": ("torch", lambda X: torch_dbm(X, compiled=True)),
        },
        X,
    )
    flat = available({"rbms": ("rbms", rbms), "learnergy": ("learnergy", learnergy)}, X)
    own = {
        "skdbm DBM": lambda: time_fit(X),
        "skdbm RBM": lambda: time_fit(X, hidden=SIZES[1:2]),
    }
    times = interleaved(own | deep | flat, options.rounds)
    for name in deep:
        print(f"{name} / skdbm DBM: {spread(ratios(times, name, 'skdbm DBM'))}")
    for name in flat:
        share = PRODUCTS["skdbm RBM"] / PRODUCTS[name]
        equal = ratios(times, name, "skdbm RBM")
        work = ratios(times, name, "skdbm RBM", share)
        print(f"{name} / skdbm RBM, equal settings: {spread(equal)}")
        print(f"{name} / skdbm RBM, equal matrix work: {spread(work)}")


if __name__ == "__main__":
    main()
