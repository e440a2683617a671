"""Train a 784-500-1000 deep Boltzmann machine on MNIST and judge it.

Trains on the 60,000 training images, binarised at random at each presentation, and
prints time, log Z with its standard error, the lower bound of the log-likelihood of
binarised test images, an importance-weighted estimate, and the test accuracy of
LogisticRegression on the features. Saves the machine, and 100 samples as a picture.

Run: python benchmarks/mnist.py [--data mnist.npz] [--epochs 8] [--pretraining 4]
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from _data import load_mnist, parser
from sklearn.linear_model import LogisticRegression

from skdbm import DBMSampler, DBMTransformer


def save_picture(samples, path):
    """Write 100 images as one picture."""
    tiles = samples[:100].reshape(10, 10, 28, 28).transpose(0, 2, 1, 3)
    plt.imsave(path, tiles.reshape(280, 280), cmap="gray_r")


def main():
    """Train, print, save."""
    cli = parser(__doc__.splitlines()[0])
    cli.add_argument("--epochs", type=int, default=8, help="of joint training")
    cli.add_argument("--pretraining", type=int, default=4, help="epochs for each pair")
    cli.add_argument("--hidden", type=int, nargs="+", default=[500, 1000])
    cli.add_argument("--labelled", type=int, default=10000, help="rows to classify by")
    cli.add_argument("--out", default="mnist", help="start of the names of the files")
    options = cli.parse_args()
    X_train, y_train, X_test, y_test = load_mnist(options.data)
    drawn = (np.random.default_rng(0).random(X_test.shape) < X_test).astype(np.float32)

    begin, cpu = time.perf_counter(), time.process_time()
    sampler = DBMSampler(
        hidden_layer_sizes=options.hidden,
        max_iter=options.epochs,
        pretraining_max_iter=options.pretraining,
        batch_size=100,
        n_gibbs_steps=5,
        random_state=0,
        verbose=1,
    ).fit(X_train)
    print(
        f"fit: {time.perf_counter() - begin:.0f} s, {time.process_time() - cpu:.0f} s "
        f"of CPU; log Z {sampler.log_partition_:.2f} +- "
        f"{sampler.log_partition_std_:.2f}"
    )
    sampler.machine_.save(f"{options.out}.npz")
    save_picture(sampler.sample(100), f"{options.out}_samples.png")
    largest = [f"{np.abs(weight).max():.2f}" for weight in sampler.machine_.weights]
    print("largest weight of each matrix:", *largest)
    scores = sampler.score_samples(drawn)
    print(
        f"lower bound on {len(drawn)} binarised test images: {scores.mean():.2f} nats "
        f"(+- {scores.std() / np.sqrt(len(scores)):.2f} for the choice of images)"
    )
    part = drawn[:1000]
    estimate = sampler.score_samples(part, n_importance_samples=100).mean()
    print(
        f"first 1000 of them: bound {scores[:1000].mean():.2f}, importance-weighted "
        f"estimate {estimate:.2f} nats"
    )
    features = DBMTransformer.from_machine(sampler.machine_)
    rows = slice(0, options.labelled)
    classifier = LogisticRegression(C=1.0, max_iter=200, tol=1e-3)
    classifier.fit(features.transform(X_train[rows]), y_train[rows])
    accuracy = classifier.score(features.transform(X_test), y_test)
    print(
        f"LogisticRegression on the features of {options.labelled} images: test "
        f"accuracy {accuracy:.4f}"
    )


if __name__ == "__main__":
    main()
