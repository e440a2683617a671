"""The likelihood: log Z by annealing and by enumeration, and the bound."""

from skdbm import likelihood

from ._machines import SIZES, images, machine


class Annealing:
    """Sequential Monte Carlo for log Z of a large machine."""

    params = ([20, 100],)
    param_names = ("n_chains",)
    timeout = 300

    def setup(self, n_chains):
        """Make the machine."""
        self.machine = machine()

    def _run(self, n_chains):
        return likelihood.annealed_log_partition(
            self.machine, n_chains=n_chains, random_state=0, n_jobs=1
        )

    def time_annealing(self, n_chains):
        """Time the pilot runs and all populations."""
        self._run(n_chains)

    def peakmem_annealing(self, n_chains):
        """Measure the memory, which grows with the chains."""
        self._run(n_chains)

    def track_standard_error(self, n_chains):
        """Follow the standard error of log Z, so that speed is not bought by it."""
        return self._run(n_chains).standard_error

    track_standard_error.unit = "nats"


class Exact:
    """Enumeration of a small machine."""

    def setup(self):
        """Make a machine with 16 units in the smaller parity."""
        self.machine = machine((64, 16, 10))

    def time_log_partition(self):
        """Time the sum over all states."""
        likelihood.exact_log_partition(self.machine)


class Bound:
    """The score of rows."""

    def setup(self):
        """Make a machine and rows."""
        self.machine, self.X = machine(SIZES), images(2000)

    def time_bound(self):
        """Time mean field and the energies."""
        likelihood.bound(self.machine, self.X, 0.0, n_jobs=1)
