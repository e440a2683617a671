"""Settings that belong together, passed to an estimator as one value.

By default the estimators get None, or True, in their place. Once one is passed,
`set_params` and searches reach its fields, as ``likelihood__n_chains`` for example.
"""

from sklearn.base import BaseEstimator


class Likelihood(BaseEstimator):  # type: ignore[misc]
    """How log-likelihoods are computed, and the posterior means behind them.

    Parameters
    ----------
    n_chains : int, default=50
        Chains of each population that is annealed for log Z, from which samples start,
        too. Time and precision grow with them; how many steps they take follows from
        the machine.
    n_importance_samples : int, default=10
        Samples of the posterior of a row that its score is made of, in `score_samples`,
        `score` and so searches, and early stopping: the importance-weighted estimate,
        on average a lower bound of log p(v), and the closer to it the more samples. On
        digits 10 come close to 1000 (``benchmarks/draws.py``). With one hidden layer
        and nothing missing the score is exact, and nothing is drawn. Each sample takes
        about the time of a mean-field sweep, and the draws of a row follow from the row
        alone.
        With 0 the score is the variational lower bound by mean field: cheap, without
        any draws and never above log p(v), but by different amounts for different
        depths and `n_posterior_gibbs_steps`. It punishes the use of upper layers, so do
        not choose between machines by it.
    mean_field_tol : float, default=1e-4
        Mean field of a row has converged when a sweep changes no mean by as much; in
        training, that of a minibatch.
    mean_field_max_iter : int, default=500
        Most mean-field sweeps after training, for features, scores and what is missing.
        A warning says how many rows had not converged by then.

    See Also
    --------
    skdbm.DBMSampler : Takes it as `likelihood`.
    skdbm.DBMTransformer : Takes it as `likelihood`, too.

    Examples
    --------
    >>> from skdbm import DBMSampler, Likelihood
    >>> sampler = DBMSampler(likelihood=Likelihood(n_importance_samples=20))
    >>> sampler.set_params(likelihood__n_chains=1000).likelihood
    Likelihood(n_chains=1000, n_importance_samples=20)
    """

    def __init__(
        self,
        *,
        n_chains: int = 50,
        n_importance_samples: int = 10,
        mean_field_tol: float = 1e-4,
        mean_field_max_iter: int = 500,
    ) -> None:
        self.n_chains = n_chains
        self.n_importance_samples = n_importance_samples
        self.mean_field_tol = mean_field_tol
        self.mean_field_max_iter = mean_field_max_iter


class Pretraining(BaseEstimator):  # type: ignore[misc]
    """How a machine of several hidden layers is pretrained, and for how long.

    Parameters
    ----------
    method : {"grow", "greedy"}, default="grow"
        The way, as `pretraining` of the estimators takes it by name.
    max_iter : int, default=None
        Number of epochs of each stage; None means a third of those of the joint
        training.

    See Also
    --------
    skdbm.DBMSampler : Takes it as `pretraining`.
    skdbm.DBMTransformer : Takes it as `pretraining`, too.

    Examples
    --------
    >>> from skdbm import DBMTransformer, Pretraining
    >>> DBMTransformer(pretraining=Pretraining("greedy", max_iter=5)).pretraining
    Pretraining(max_iter=5, method='greedy')
    """

    def __init__(self, method: str = "grow", *, max_iter: int | None = None) -> None:
        self.method = method
        self.max_iter = max_iter


class FineTuning(BaseEstimator):  # type: ignore[misc]
    """How a classifier learns to tell classes, after the machine has learned the rows.

    The machine's mean field, a pass upwards and a sweep, is a network that ends in
    the probabilities of the classes. A copy of the weights goes on to learn from the
    labels by back-propagation through it; the machine itself stays as it is.

    Parameters
    ----------
    max_iter : int, default=None
        Passes over the rows with a label or over those without, whichever are more.
        None means 40, and more on small data, until there are 1,000 updates.
    learning_rate_init : float, default=0.01
        The first step of Adam; it falls almost to zero at the end.
    alpha : float, default=0.5
        Strength of the pull back to the machine, with weights of labels of zero, by
        ``alpha / n_samples`` times the distance: a normal prior of variance
        ``1 / alpha`` for every weight [2]_. It is the one number between a generative
        classifier and one that only discriminates: 0 is no pull, with which the
        probabilities of small tables become too sure of themselves.
    perturbation : float, default=0.25
        Up to which distance from a row its class shall stay the same, as a share of the
        distance of rows from their mean, as a root mean square: virtual adversarial
        training [1]_. How much the classes differ at the worst place so far away is
        part of what is learned, in about twice the time: on tables of
        bits probabilities are better by it, and on images there are fewer errors, too.
        Real columns are left where they are: they vary in directions that tell much
        and in others that tell nothing, and classes may overlap. With 0, and where all
        columns are real, rows of probabilities are drawn anew at each presentation
        instead.
    dropout : float, default=0.0
        Share of the hidden units that each presentation leaves out.

    See Also
    --------
    skdbm.DBMClassifier : Takes it as `fine_tuning`.

    References
    ----------
    .. [1] T. Miyato, S. Maeda, M. Koyama and S. Ishii, "Virtual adversarial training: a
       regularization method for supervised and semi-supervised learning", IEEE
       Transactions on Pattern Analysis and Machine Intelligence 41 (8), 2019.
    .. [2] J. A. Lasserre, C. M. Bishop and T. P. Minka, "Principled hybrids of
       generative and discriminative models", CVPR 2006.

    Examples
    --------
    >>> from skdbm import DBMClassifier, FineTuning
    >>> DBMClassifier(fine_tuning=FineTuning(perturbation=0.1)).fine_tuning
    FineTuning(perturbation=0.1)
    """

    def __init__(
        self,
        *,
        max_iter: int | None = None,
        learning_rate_init: float = 0.01,
        alpha: float = 0.5,
        perturbation: float = 0.25,
        dropout: float = 0.0,
    ) -> None:
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.perturbation = perturbation
        self.dropout = dropout


#: Value objects, by the parameters that take them.
BY_PARAMETER = {
    "likelihood": Likelihood,
    "pretraining": Pretraining,
    "fine_tuning": FineTuning,
}
