"""A binary deep Boltzmann machine with two hidden layers in PyTorch, as a peer."""

from itertools import pairwise

import torch


class TorchDBM:
    """Stochastic maximum likelihood as one would write it down: eager, float32, CPU.

    What an update does is what skdbm's does, apart from centring and averaging, which
    are left out: mean field, persistent chains, gradient, momentum.
    """

    def __init__(self, sizes, n_chains, n_sweeps, n_gibbs):
        self.n_sweeps, self.n_gibbs = n_sweeps, n_gibbs
        self.weights = [0.01 * torch.randn(shape) for shape in pairwise(sizes)]
        self.biases = [torch.zeros(size) for size in sizes]
        self.parameters = self.weights + self.biases
        self.velocities = [torch.zeros_like(array) for array in self.parameters]
        self.chains = torch.bernoulli(torch.full((n_chains, sizes[1]), 0.5))

    def mean_field(self, v):
        """Compute the means of both hidden layers given visible states."""
        (W0, W1), (_, b1, b2) = self.weights, self.biases
        below = v @ W0 + b1
        h1 = torch.sigmoid(2 * below - b1)
        for _ in range(self.n_sweeps):
            h2 = torch.sigmoid(h1 @ W1 + b2)
            h1 = torch.sigmoid(below + h2 @ W1.T)
        return v, h1, h2

    def gibbs(self, h1):
        """Advance chains: even layers given the odd one, then the odd one."""
        (W0, W1), (b0, b1, b2) = self.weights, self.biases
        for _ in range(self.n_gibbs):
            v = torch.bernoulli(torch.sigmoid(h1 @ W0.T + b0))
            h2 = torch.bernoulli(torch.sigmoid(h1 @ W1 + b2))
            h1 = torch.bernoulli(torch.sigmoid(v @ W0 + h2 @ W1.T + b1))
        return v, h1, h2

    def gradients(self, v):
        """Compute those of the weights and of the biases, and the new chains."""
        data, model = self.mean_field(v), self.gibbs(self.chains)
        (v0, h1, h2), (v0_, h1_, h2_) = data, model
        n, m = len(v), len(self.chains)
        weights = [
            v0.T @ h1 / n - v0_.T @ h1_ / m,
            h1.T @ h2 / n - h1_.T @ h2_ / m,
        ]
        biases = [a.mean(0) - b.mean(0) for a, b in zip(data, model, strict=True)]
        return weights, biases, h1_

    def update(self, v, rate=0.01, momentum=0.9):
        """Move by one minibatch."""
        weights, biases, chains = self.gradients(v)
        self.chains.copy_(chains)
        for parameter, velocity, gradient in zip(
            self.parameters, self.velocities, weights + biases, strict=True
        ):
            velocity.mul_(momentum).add_(gradient)
            parameter.add_(velocity, alpha=rate)
