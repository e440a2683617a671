"""Fit, transform, score and sample, as a user calls them."""

from skdbm import DBMSampler, DBMTransformer, Likelihood

from ._machines import SIZES, images, machine


class Fit:
    """Training of two hidden layers, alone and after pretraining."""

    params = (["greedy", None], [1, 2])
    param_names = ("pretraining", "n_jobs")
    timeout = 300

    def setup(self, pretraining, n_jobs):
        """Make the data."""
        self.X = images(2000)
        self.estimator = DBMTransformer(
            hidden_layer_sizes=SIZES[1:],
            max_iter=1,
            pretraining=pretraining,
            random_state=0,
            n_jobs=n_jobs,
        )

    def time_fit(self, pretraining, n_jobs):
        """Time an epoch and what comes before it."""
        self.estimator.fit(self.X)

    def peakmem_fit(self, pretraining, n_jobs):
        """Measure the memory that it takes at most."""
        self.estimator.fit(self.X)


class PartialFit:
    """Training chunk by chunk."""

    def setup(self):
        """Make the data; the first call makes the machine."""
        self.X = images(1000)
        self.estimator = DBMTransformer(hidden_layer_sizes=SIZES[1:], random_state=0)
        self.estimator.partial_fit(self.X)

    def time_partial_fit(self):
        """Time one chunk."""
        self.estimator.partial_fit(self.X)


class Features:
    """Features of a machine, and back."""

    params = (["float32", "float64"],)
    param_names = ("dtype",)

    def setup(self, dtype):
        """Make a machine, rows and their features."""
        self.X = images(2000).astype(dtype)
        self.estimator = DBMTransformer.from_machine(machine(), n_jobs=1)
        self.features = self.estimator.transform(self.X)

    def time_transform(self, dtype):
        """Time mean field to convergence."""
        self.estimator.transform(self.X)

    def time_inverse_transform(self, dtype):
        """Time the way back."""
        self.estimator.inverse_transform(self.features)

    def peakmem_transform(self, dtype):
        """Measure the memory of mean field."""
        self.estimator.transform(self.X)


class Samples:
    """Gibbs chains."""

    def setup(self):
        """Make a sampler; few chains, as log Z is not what is timed."""
        self.sampler = DBMSampler.from_machine(
            machine(),
            likelihood=Likelihood(n_chains=20),
            random_state=0,
            n_jobs=1,
        )

    def time_sample(self):
        """Time 100 chains over 200 sweeps."""
        self.sampler.sample(100, burn_in=200)
