"""Machines in training that know their options, and steps of them."""

import numpy as np

from skdbm import ops
from skdbm.training import update
from skdbm.training.state import Options, State

TEAM = ops.Workers(1)


class Trained(State):
    """A machine in training that knows its options."""

    def __init__(self, machine, n_chains, seed, chains, options):
        super().__init__(machine, n_chains, np.random.SeedSequence(seed), chains)
        self.options = options


def trainer_of(machine, n_chains=10, seed=0, chains=None, **options):
    """Make a machine in training that takes plain gradient steps unless told not to."""
    defaults = {
        "batch_size": 50,
        "momentum": 0.0,
        "alpha": 0.0,
        "n_gibbs_steps": 1,
        "n_mean_field_steps": 1000,
        "mean_field_tol": 1e-13,
        "mix_chains": False,
    }
    return Trained(machine, n_chains, seed, chains, Options(**(defaults | options)))


def settled(machine, row, n_rows, seed):
    """States of all layers after long Gibbs sweeps of copies of a row, in training."""
    trained = trainer_of(
        machine,
        batch_size=n_rows,
        n_mean_field_steps=2,
        n_posterior_gibbs_steps=30,
        mean_field_tol=0,
    )
    block, space = slice(0, n_rows), trained.workspace(n_rows)
    visible = np.tile(row, (n_rows, 1))
    batch = update.Batch(trained, visible, trained.options, learning_rate=0.0)
    batch.data_phase(block, ops.generator(seed))
    return space.phase(space.data_rows(block))


def step(trained, X, learning_rate):
    """Update by one batch, all rows of X."""
    return update.update(trained, X, trained.options, learning_rate, TEAM)
