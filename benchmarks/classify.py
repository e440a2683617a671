"""How well does DBMClassifier name classes, with all labels and with few?

MNIST, or OCR letters (16 x 8 pixels, as Salakhutdinov and Larochelle split them,
AISTATS 2010). Machines learn from all training rows; of --labels N of them, as many of
each class, the labels are known. With --peers there are, beside it,
LogisticRegression on the labelled rows, SelfTrainingClassifier of it, and
LabelSpreading over neighbours among 10,000 rows, where labels are few; and, with all
labels, LogisticRegression on the features of the same machine. Prints errors and log
losses, a line of JSON for each.

Settings are judged with --validate, on the last 10,000 training images or on the
validation part of the letters; what is chosen is judged on the test part once.

Run: python benchmarks/classify.py --data mnist.npz [--labels 1000] [--validate]
or   python benchmarks/classify.py --data ocr_letters.npz
"""

import json
import time
import warnings

import numpy as np
from _data import few, load_mnist, parser
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skdbm import DBMClassifier, DBMTransformer, DeepBoltzmannMachine, FineTuning
from skdbm.encodings.labels import with_labels
from skdbm.training.fine_tuning import fine_tune

#: Rows among which labels spread, since that compares all pairs.
N_SPREAD = 10_000


def command_line():
    """Describe the options."""
    cli = parser(__doc__.splitlines()[0])
    add = cli.add_argument
    add("--hidden", type=int, nargs="+", default=[500, 1000])
    add("--labels", type=int, help="labels that are known; default: all")
    add("--seed", type=int, default=0, help="of the training and of the labels")
    add("--epochs", type=int, help="of the joint training; default: automatic")
    add("--tuning", type=int, help="epochs of the fine-tuning; default: automatic")
    add("--rate", type=float, default=FineTuning().learning_rate_init)
    add("--perturbation", type=float, default=FineTuning().perturbation)
    add("--dropout", type=float, default=FineTuning().dropout)
    add("--machine", help="a classifier, or a machine of the rows: fine-tune it only")
    add("--validate", action="store_true", help="judge on training rows held out")
    add("--peers", action="store_true", help="judge the peers, too")
    add("--jobs", type=int, help="threads; default: all cores")
    add("--out", help="where to save the classifier")
    return cli.parse_args()


def load(path, validate):
    """Give training rows, their classes, rows to judge by and theirs."""
    if path is not None:
        with np.load(path) as file:
            if "X_valid" in file:
                return letters(file, validate)
    X, y, *test = load_mnist(path)
    n = len(X) - 10_000
    return (X[:n], y[:n], X[n:], y[n:]) if validate else (X, y, *test)


def letters(file, validate):
    """Give OCR letters, whose pixels are bits."""
    parts = {
        part: (np.unpackbits(file[f"X_{part}"], axis=1), file[f"y_{part}"])
        for part in ("train", "valid", "test")
    }
    X, y = parts["train"]
    if validate:
        return X.astype(np.float32), y, *parts["valid"]
    X, y = (np.concatenate(pair) for pair in zip(*parts.values(), strict=True))
    n = len(X) - len(parts["test"][0])
    return X[:n].astype(np.float32), y[:n], X[n:], y[n:]


def report(name, model, X, y, seconds, options):
    """Print how a fitted model judges test rows."""
    probabilities = model.predict_proba(X)
    # Labels do not spread to some rows at all.
    probabilities[np.isnan(probabilities)] = 1 / len(model.classes_)
    predicted = model.classes_[probabilities.argmax(axis=1)]
    result = {
        "model": name,
        "labels": options.labels,
        "seed": options.seed,
        "error": round(100 * float(np.mean(predicted != y)), 2),
        "log loss": round(log_loss(y, probabilities, labels=model.classes_), 4),
        "minutes": round(seconds / 60, 1),
    }
    print(json.dumps(result), flush=True)


def fitted(name, model, X, y, X_test, y_test, options):
    """Fit a peer and report."""
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with np.errstate(invalid="ignore"):
            model.fit(X, y)
    report(name, model, X_test, y_test, time.perf_counter() - begin, options)


def peers(X, y, known, options, *test):
    """Judge what scikit-learn has for labels of some rows."""
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    fitted("LogisticRegression", linear, X[known], y[known], *test, options)
    if options.labels is None:
        return
    rng = np.random.default_rng(options.seed)
    others = rng.permutation(np.setdiff1d(np.arange(len(y)), known))
    some = np.concatenate([known, others])[:N_SPREAD]
    labels = np.full(len(some), -1)
    labels[: len(known)] = y[known]
    self_training = SelfTrainingClassifier(LogisticRegression(C=0.1, max_iter=300))
    fitted("SelfTrainingClassifier", self_training, X[some], labels, *test, options)
    for n_neighbors in (5, 10):
        spreading = LabelSpreading(kernel="knn", n_neighbors=n_neighbors, max_iter=100)
        name = f"LabelSpreading, {n_neighbors} neighbours"
        fitted(name, spreading, X[some], labels, *test, options)


def tuned(path, X, labels, settings, options):
    """Fine-tune a machine that has learned the rows, with labels or without."""
    classes = np.unique(labels[labels >= 0])
    machine = machine_with_labels(path, X.shape[1], len(classes))
    classifier = DBMClassifier.from_machine(machine, classes=classes, **settings)
    codes = np.where(labels >= 0, np.searchsorted(classes, labels), np.nan)
    classifier.predictor_, _ = fine_tune(
        machine,
        np.column_stack([X, codes.astype(X.dtype)]),
        len(classes),
        settings["fine_tuning"],
        options.seed,
        options.jobs,
        lambda *epoch: print(*epoch, flush=True),
    )
    return classifier


def machine_with_labels(path, n_columns, n_classes):
    """Load that of a classifier, or one of rows, to which labels are joined."""
    try:
        return DBMClassifier.load(path).machine_
    except ValueError:  # it is not a classifier
        machine = DeepBoltzmannMachine.load(path)
    weights, biases = list(machine.weights), list(machine.biases)
    of_labels = np.zeros((n_classes, weights[0].shape[1]), np.float32)
    weights[0] = np.vstack([weights[0], of_labels])
    biases[0] = np.concatenate([biases[0], np.zeros(n_classes, np.float32)])
    encoding = with_labels(machine.encoding, n_columns, n_classes)
    units = [encoding.unit, *machine.units[1:]]
    return DeepBoltzmannMachine(weights, biases, units, encoding)


def features(classifier, X):
    """Features of rows, of which no label is known."""
    gaps = np.full((len(X), 1), np.nan, X.dtype)
    transformer = DBMTransformer.from_machine(classifier.machine_, allow_missing=True)
    return transformer.transform(np.hstack([X, gaps]))


def main():
    """Train, print, save."""
    options = command_line()
    X, y, X_test, y_test = load(options.data, options.validate)
    X_test, y, y_test = X_test.astype(X.dtype), y.astype(int), y_test.astype(int)
    known = few(y, options.labels, options.seed)
    labels = np.full(len(y), -1)
    labels[known] = y[known]
    if options.peers:
        peers(X, y, known, options, X_test, y_test)
    settings = {
        "random_state": options.seed,
        "n_jobs": options.jobs,
        "unlabeled": -1,
        "fine_tuning": FineTuning(
            max_iter=options.tuning,
            learning_rate_init=options.rate,
            perturbation=options.perturbation,
            dropout=options.dropout,
        ),
    }
    begin = time.perf_counter()
    if options.machine:
        classifier = tuned(options.machine, X, labels, settings, options)
    else:
        classifier = DBMClassifier(
            hidden_layer_sizes=options.hidden,
            max_iter=options.epochs,
            verbose=1,
            **settings,
        ).fit(X, labels)
    seconds = time.perf_counter() - begin
    report("DBMClassifier", classifier, X_test, y_test, seconds, options)
    if options.out:
        classifier.save(options.out)
    if options.peers and options.labels is None:
        linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
        rows, name = features(classifier, X), "LogisticRegression on its features"
        fitted(name, linear, rows, y, features(classifier, X_test), y_test, options)


if __name__ == "__main__":
    main()
