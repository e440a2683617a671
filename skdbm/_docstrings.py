"""The parts of the class docstrings that both estimators share."""

import inspect

PARAMETERS = """\
hidden_layer_sizes : int or array-like of int, default=(256, 256)
        Number of units in each hidden layer, the lowest first. An integer means one
        hidden layer, a restricted Boltzmann machine.

    visible : str, UnitType or list of (str or UnitType, columns), default="bernoulli"
        What the columns hold: "bernoulli" (zeros and ones, or probabilities between
        them), "gaussian" (real values; location and scale of each column are learned),
        "categorical" (one of several values, numbers or strings) or "counts" (word
        counts, given the total of the row). For columns of several kinds a list of
        pairs, such as ``[("gaussian", ["age"]), ("categorical", ["job"])]``, in which
        the columns are names, indices, a slice, a mask, or a callable such as
        `sklearn.compose.make_column_selector`. Counts do not mix. Of a `UnitType` only
        the kind matters: `fit` learns location, scale and categories anew.

    hidden : "bernoulli", UnitType or list of UnitType, default="bernoulli"
        Unit types of the hidden layers, one for all or a list. Next to Bernoulli
        there is `skdbm.units.Categorical`, for groups of units of which one is on.

    allow_missing : bool, default=False
        Whether `X` may hold missing values: NaN, and None or pandas.NA among
        categories. Training and every result then average over what they could be,
        by mean field. If False they are an error, but for `impute` and
        `sample(given=...)` of `DBMSampler`.

    handle_unknown : {{"error", "missing"}}, default="error"
        What a category that `fit` did not see is: an error, or a missing value.

    max_iter : int, default=None
        Number of epochs, passes over the training rows, of the joint training. None
        means 100; more on small data, up to 2,000, until there are 6,000 updates, and
        fewer on large data, down to 10, so that there are not more than 120,000.

    batch_size : int, default={batch_size}
        Rows of one minibatch; more than there are rows means all of them.

    learning_rate : {{"linear", "constant"}}, default="linear"
        How the learning rate goes on from `learning_rate_init`: "linear" lets it fall
        almost to zero at the end of the run, so that the noise that the chains put on
        the weights dies out; "constant" does not.

    learning_rate_init : "auto" or float, default="auto"
        The first learning rate. "auto" means 6.4 / n_features, at most 0.1: the more
        columns, the further one step moves the fields of the hidden units. With
        momentum the effective step is learning_rate_init / (1 - momentum). For
        "gaussian" columns "auto" is at most 25 over the number of hidden units, and
        they move at a share of it, 0.3 over the largest variance of the data in any
        direction; for "counts" eight times the mean total stands for n_features if it
        is more. If training diverges with the automatic rate, `fit` warns and begins
        again with a quarter of it, at most three times.

    momentum : float, default=0.9
        Share of the velocity of the weights that stays from update to update.

    alpha : float, default={alpha}
        Strength of the L2 penalty (weight decay); biases are free of it.

    n_chains : int, default={n_chains}
        Number of persistent Gibbs chains. It has nothing to do with the batch size.

    n_gibbs_steps : int, default={n_gibbs_steps}
        Gibbs sweeps of every chain between two updates.

    n_mean_field_steps : int, default=10
        Most mean-field sweeps of a minibatch in training; a minibatch that has
        converged to `mean_field_tol` takes fewer.

    n_posterior_gibbs_steps : int, default=0
        Gibbs sweeps over the hidden layers of every row, and over what is missing in
        it, that follow mean field in training. Mean field takes the units of a row for
        independent; a few sweeps, 3 for example, bring in that they are not, with which
        upper layers learn more. The likelihood, as scores with `n_importance_samples`
        estimate it, becomes better, but the bound that is the score without them, made
        by mean field, looser. With 0, the default, mean field alone is used: it is
        cheaper. It makes no difference to one hidden layer without missing values,
        where the posterior is exact.

    mean_field_tol : float, default=1e-4
        Mean field of a row has converged when a sweep changes no mean by as much.

    mean_field_max_iter : int, default=500
        Most mean-field sweeps after training, for features, scores and what is missing.
        A warning says how many rows had not converged by then.

    pretraining : {{"greedy", "grow", None}}, default="greedy"
        How the joint training starts, if there is more than one hidden layer. "greedy"
        trains every pair of neighbouring layers first, from the bottom up [1]_. "grow"
        trains the machine of the lowest hidden layer, then that of the two lowest, and
        so on, each with a layer of small random weights on top of the one before; with
        ``n_mean_field_steps=1``, which keeps these weights growing. None starts from
        small random weights, from which the upper layers often stay unused.

    pretraining_max_iter : int, default=None
        Number of epochs of each stage of pretraining; None means a fifth of those of
        the joint training.

    binarize : bool, default=True
        Whether visible states are drawn anew, 0 or 1, from values between 0 and 1 at
        each presentation of a row in training: what the values mean as probabilities.
        It makes no difference to data of zeros and ones, nor to columns that are not
        "bernoulli". False trains on the values as they are.

    early_stopping : bool, default=False
        Whether training stops when the score of held-out rows stops improving; the
        machine with the best score is kept. Log Z is enumerated for small machines, and
        else annealed at the first evaluation and followed from there; for counts it is
        annealed at every evaluation.

    validation_fraction : float, default=0.1
        Share of the rows held out for `early_stopping`.

    evaluate_every : int, default=5
        Epochs between two evaluations of the held-out rows.

    n_iter_no_change : int, default=10
        Epochs without improvement by `tol` after which `early_stopping` stops.

    tol : float, default=0.01
        Smallest improvement of the held-out score that counts, in nats.

    monitor : callable, default=None
        Called as ``monitor(record, machine)`` after every epoch of the joint training
        in `fit`: with the record of the epoch, a dict of what is appended to
        `history_`, and a function without arguments that gives a copy of the averaged
        `DeepBoltzmannMachine` so far. If it returns True the training ends there, as
        early stopping would end it, and what was learned is kept. What it adds to the
        record is in `history_`, too.

    n_annealing_chains : int, default=100
        Chains of the annealed importance sampling that estimates log Z. Around a given
        machine, samples start from them, too.

    n_temperatures : int, default=1000
        Inverse temperatures of the annealed importance sampling.

    n_importance_samples : int, default=0
        Samples of the posterior of every row that its score is made of, wherever there
        is one: `score_samples`, `score` and so searches, early stopping. With 0, the
        default, the score is the variational lower bound by mean field, which is cheap
        and deterministic. With k samples it is the importance-weighted estimate: on
        average a lower bound, too, as a rule a tighter one, and the closer to log p(v)
        the more samples. Take 10 or more to compare machines of different depths or
        `n_posterior_gibbs_steps`, whose bounds are not equally tight. The time grows
        in proportion to the samples; each costs about as much as a mean-field sweep.

    warm_start : bool, default=False
        Whether `fit` goes on from the machine of the last fit, with another
        `max_iter` epochs, instead of starting anew.

    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, order of rows, chains and annealing. An int gives the
        same result at every call.

    verbose : int, default=0
        A positive number prints a line an epoch.

    n_jobs : int, default=None
        Number of threads; None means as many as the BLAS library would use here, so
        that nested parallel work does not ask for more than there is. The result is
        the same, bit for bit, for every number."""

ATTRIBUTES = """\
machine_ : DeepBoltzmannMachine
        The trained machine, with the weights averaged over the last part of training.

    history_ : dict of str to list
        The record of the training, one entry an epoch (or call of `partial_fit`):
        "reconstruction_error" (mean squared difference of visible states and their
        means given the first hidden layer), "energy_gap" (mean energy of the data
        minus that of the chains, nats), "chain_autocorrelation" (correlation of the
        visible states of the chains with those a tenth of the epoch before, 1 where
        they stand still; NaN for an epoch of one batch), "mean_field_sweeps",
        "unconverged" (share of the batches that did not reach `mean_field_tol`),
        "dead_units" (share of the hidden units that are almost always off or almost
        always on, one number a hidden layer), "weight_norms" (one number a matrix),
        "learning_rate", "seconds", and with early stopping "validation_score" (mean
        score of the held-out rows, nats) and "overfitting" (mean score of as many
        training rows minus that of the held-out rows, nats, in which log Z cancels
        unless the columns are counts), both NaN where not evaluated.

    n_iter_ : int
        Number of epochs of joint training, or calls of `partial_fit`.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where all were strings."""

REFERENCES = """\
.. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines",
       AISTATS 2009.
    .. [2] G. Montavon and K.-R. Müller, "Deep Boltzmann machines and the centering
       trick", Neural Networks: Tricks of the Trade, 2012.
    .. [3] J. Melchior, A. Fischer and L. Wiskott, "How to center deep Boltzmann
       machines", Journal of Machine Learning Research 17, 2016."""


def shared(cls):
    """Fill the shared parts into the docstring of an estimator class."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
    }
    cls.__doc__ = (
        (cls.__doc__ or "")
        .replace("<parameters>", PARAMETERS.format_map(defaults))
        .replace("<attributes>", ATTRIBUTES)
        .replace("<references>", REFERENCES)
    )
    return cls
