"""What people do to estimators: edits, changes of mind, unusual arguments."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdbm import DBMSampler
from skdbm.machine import DeepBoltzmannMachine

from ._estimators import small

# Edits of a fitted machine


def edit_in_place(fitted):
    fitted.machine_.weights[0][:2] += 1


def edit_a_bias(fitted):
    fitted.machine_.biases[-1][0] -= 2


def exchange_an_array(fitted):
    fitted.machine_.weights[1] = fitted.machine_.weights[1] * 3


def exchange_the_machine(fitted):
    fitted.machine_ = fitted.machine_.map(lambda array: array / 2)


EDITS = [edit_in_place, edit_a_bias, exchange_an_array, exchange_the_machine]


@pytest.mark.parametrize("edit", EDITS)
def test_scores_follow_a_machine_that_was_edited(cls, X, edit):
    fitted = small(cls).fit(X)
    before = fitted.score_samples(X)
    assert_array_equal(fitted.score_samples(X), before)
    edit(fitted)
    fresh = cls.from_machine(
        copy.deepcopy(fitted.machine_), likelihood=fitted.likelihood, random_state=0
    )
    fresh._annealing_seed = fitted._annealing_seed
    wanted = fresh.score_samples(X)
    assert np.all(wanted != before)
    assert_array_equal(fitted.score_samples(X), wanted)
    if cls is DBMSampler:
        assert not hasattr(fitted, "log_partition_")
        assert_array_equal(
            fitted.sample(5, random_state=1), fresh.sample(5, random_state=1)
        )


def test_scores_of_a_machine_follow_the_arrays_it_was_made_of(X):
    weights, biases = [np.ones((8, 2))], [np.zeros(8), np.zeros(2)]
    machine = DeepBoltzmannMachine(weights, biases)
    fitted = DBMSampler.from_machine(machine)
    fitted.score(X)
    machine.weights[0][0] = -1
    wanted = DBMSampler.from_machine(copy.deepcopy(machine)).score_samples(X)
    assert_array_equal(fitted.score_samples(X), wanted)
