"""What estimators tell of themselves: docstrings, and the signature."""

import inspect
import re


class Shared:
    """What stands for <parameters>, <attributes> and <references>.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(256, 256)
        Number of units in each hidden layer, the lowest first. An integer means one
        hidden layer, a restricted Boltzmann machine.
    visible : str, Encoding or list of (str or Encoding, columns), default="bernoulli"
        What the columns hold: "bernoulli" (zeros and ones, or probabilities between
        them, from which states are drawn anew at each presentation), "gaussian" (real
        values; their means and covariance are learned, and long tails are bent),
        "categorical" (one of several values, numbers or strings) or "counts" (word
        counts, given the total of the row). For columns of several kinds a list of
        pairs, such as ``[("gaussian", ["age"]), ("categorical", ["job"])]``, in which
        the columns are names, indices, a slice, a mask, or a callable such as
        `sklearn.compose.make_column_selector`. Counts do not mix. In place of a name
        stands an encoding of `skdbm.encodings` where more is to be said, as in
        ``Probabilities(redraw=False)`` or ``Categories(handle_unknown="missing")``;
        what it learns from data, `fit` learns anew.
    hidden : "bernoulli", UnitType or list of UnitType, default="bernoulli"
        Unit types of the hidden layers, one for all or a list. Next to Bernoulli
        there is `skdbm.units.Categorical`, for groups of units of which one is on.
    allow_missing : bool, default=False
        Whether `X` may hold missing values: NaN, and None or pandas.NA among
        categories. Training and every result then average over what they could be,
        by mean field. If False they are an error, but for `impute` and
        `sample(given=...)` of `DBMSampler`.
    max_iter : int, default=None
        Number of epochs, passes over the training rows, of the joint training. None
        means 40; more on small data, up to 2,000, until there are 2,000 updates, or 350
        over the automatic learning rate (at most 8,000), whichever is more; and fewer
        on large data, down to 10, so that there are not more than 120,000. Where Gibbs
        chains turn out slow, in a stage of growth or in the first quarter of the
        epochs, what they tell is noisy: training begins again, at half the learning
        rate and with 100 epochs, or, in up to 500, 18,000 updates, unless rate and
        epochs are given.
    batch_size : int, default=50
        Rows of one minibatch; more than there are rows means all of them.
    learning_rate_init : "auto" or float, default="auto"
        The first learning rate. "auto" follows what the columns vary: it is 2 over the
        sum of the variances of the visible units, or 0.15 over their variance along
        the first principal component, whichever is less, since by so much a step moves
        the fields of the hidden units. With a momentum of 0.9 the effective step is ten
        times as long. The rate falls almost to zero at the end of the run, so that the
        noise that the chains put on the weights dies out; in `partial_fit` it stays.
        Where chains are slow, and in `partial_fit`, it is half of that.
        For "gaussian" columns "auto" is 6.4 / n_features, at most 0.1 and 25 over the
        number of hidden units, and they move at a share of it, 0.3 over the largest
        moment of whitened rows, 1 if they are normal; for "counts" it is 4 over the sum
        of the variances of words given the total of a row, at most 0.1. If training
        diverges with the automatic rate, `fit` warns and begins again with a quarter of
        it, at most three times.
    alpha : "auto" or float, default="auto"
        Strength of the penalty on weights that the rows cannot tell from chance, in
        standard errors of the coupling of independent units: the weight between units
        i and j is pulled to zero by ``alpha * sd_i * sd_j / sqrt(n_samples)`` over
        ``1 + abs(weight)`` [5]_. 0 is no penalty, and 1 keeps most of what is no more
        than chance from being learned. "auto" learns the strength, one for each layer,
        from a tenth of the rows (at most 2,000), by how much better the others fit, the
        less of that the fewer they are; in the last third of the joint training they
        are learned from, too. From the same rows it learns how much more real columns
        vary given the hidden units than in the others. With less than 20 rows, and in
        `partial_fit`, "auto" is as little as 0.2. Biases are free of it.
    n_chains : int, default=100
        Number of persistent Gibbs chains. It has nothing to do with the batch size.
        Where chains are found slow, as with data that fall into clusters, they get
        weights, by which they follow the machine before they have moved [4]_, and
        exchange states with a ladder of machines down to independent units, the more
        often, the slower they are: where they stand still, that takes as many sweeps as
        the updates. Twenty of them take part at a time; fewer, and chains of counts,
        are left alone.
    n_gibbs_steps : int, default=2
        Gibbs sweeps of every chain between two updates.
    n_mean_field_steps : int, default=1
        Most mean-field sweeps of a minibatch in training; a minibatch that has
        converged takes fewer. Chains of rows begin there; without them, all rests on
        it, and the more sweeps there are, the more upper layers, which are never sure
        of themselves, are left unused.
    n_posterior_gibbs_steps : int, default=1
        Gibbs sweeps over the hidden layers of every row, and over what is missing in
        it, each time that training visits the row. The chain of a row goes on where the
        last visit left it, so one sweep is enough in `fit`; in `partial_fit`, where
        every row is new, it begins with mean field, and three may be better. Mean field
        takes the units of a row for independent; chains bring in that they are not,
        with which upper layers learn more. The likelihood, and its estimate, the score,
        become better, but the bound by mean field,
        ``Likelihood(n_importance_samples=0)``, looser. With 0 mean field alone is used,
        and more than one sweep of it pays. It makes no difference to one hidden layer
        without missing values, where the posterior is exact.
    pretraining : {"grow", "greedy", None} or Pretraining, default="grow"
        How the joint training starts, if there is more than one hidden layer. "grow"
        trains the machine of the lowest hidden layer, then that of the two lowest, and
        so on, each with a layer of small random weights on top of the one before: what
        was learned stays, and the new layer adds to it. "greedy" trains every pair of
        neighbouring layers first, from the bottom up [1]_. None starts from small
        random weights, from which the upper layers often stay unused. A stage has a
        third of the epochs of the joint training, or as many as
        ``Pretraining("grow", max_iter=...)`` says.
    early_stopping : bool, default=False
        Whether training stops when the score of held-out rows stops improving; the
        machine with the best score is kept. Log Z is enumerated for small machines, and
        else annealed at the first evaluation and followed from there, and annealed anew
        where the machine has grown modes that the followed chains miss; for counts it
        is annealed at every evaluation.
    validation_fraction : float, default=0.1
        Share of the rows held out for `early_stopping`.
    evaluate_every : int, default=5
        Epochs between two evaluations of the held-out rows.
    n_iter_no_change : int, default=10
        Epochs without improvement by `tol` after which `early_stopping` stops.
    tol : float, default=0.01
        Smallest improvement of the held-out score that counts, in nats.
    likelihood : Likelihood, default=None
        How log-likelihoods and posterior means are computed after training: chains of
        the annealing for log Z, importance samples of a score, tolerance of mean field.
        None means `skdbm.Likelihood()`.
    warm_start : bool, default=False
        Whether `fit` goes on from the machine of the last fit, with another
        `max_iter` epochs, instead of starting anew. The rows held out for early
        stopping stay the same.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, order of rows, chains and annealing. An int gives the
        same result at every call.
    verbose : int, default=0
        A positive number prints a line an epoch.
    n_jobs : int, default=None
        Number of threads; None means as many as the BLAS library would use here, so
        that nested parallel work does not ask for more than there is. The result is
        the same, bit for bit, for every number.

    Attributes
    ----------
    machine_ : DeepBoltzmannMachine
        The trained machine, with the weights averaged over the last part of training.
    history_ : dict of str to list
        The record of the training, one entry an epoch (or call of `partial_fit`):
        "reconstruction_error" (mean squared difference of visible states and their
        means given the first hidden layer), "energy_gap" (mean energy of the data
        minus that of the chains, nats), "chain_autocorrelation" (correlation of the
        visible states of the chains with those a tenth of the epoch before, 1 where
        they stand still; NaN for an epoch of one batch), "effective_chains" (effective
        sample size of the weighted chains, over their number), "least_acceptance" (of
        exchanges between neighbours on the ladder down to independent units, where they
        are least often accepted; NaN before the first), "rungs" (of the ladder),
        "renewals" (chains that came up from independent units), "mean_field_sweeps",
        "unconverged" (share of the batches in which mean field did not converge),
        "dead_units" (share of the hidden units whose mean hardly varies over the rows,
        one number a hidden layer), "weight_norms" (one number a matrix),
        "learning_rate", "seconds", and with early stopping "validation_score" (mean
        score of the held-out rows, nats) and "overfitting" (mean score of as many
        training rows minus that of the held-out rows, nats, in which log Z cancels
        unless the columns are counts), both NaN where not evaluated.
    n_iter_ : int
        Number of epochs of joint training, or calls of `partial_fit`.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where all were strings.

    References
    ----------
    .. [1] R. Salakhutdinov and G. Hinton, "Deep Boltzmann Machines",
       AISTATS 2009.
    .. [2] G. Montavon and K.-R. Müller, "Deep Boltzmann machines and the centering
       trick", Neural Networks: Tricks of the Trade, 2012.
    .. [3] J. Melchior, A. Fischer and L. Wiskott, "How to center deep Boltzmann
       machines", Journal of Machine Learning Research 17, 2016.
    .. [4] D. Carbone, M. Hua, S. Coste and E. Vanden-Eijnden, "Efficient training of
       energy-based models using Jarzynski equality", NeurIPS 2023.
    .. [5] E. Candes, M. Wakin and S. Boyd, "Enhancing sparsity by reweighted l1
       minimization", Journal of Fourier Analysis and Applications 14, 2008.
    """


def with_parameters(function, **defaults):
    """Signature of a function with some keywords more, at the end."""
    signature = inspect.signature(function)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in defaults.items()
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *more])


def shared(cls, source=Shared):
    """Fill the shared sections into the docstring of an estimator class."""
    _, *parts = re.split(r"\n+^(\w+)\n-+\n", inspect.getdoc(source), flags=re.M)
    cls.__doc__ = inspect.getdoc(cls)
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        cls.__doc__ = cls.__doc__.replace(f"<{title.lower()}>", text)
    return cls
