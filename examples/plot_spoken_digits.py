"""
Spoken digits: features of sound for speakers never heard
=========================================================

Recordings of the digits 0 to 9 by six speakers become log-mel frames, real values, and
a deep Boltzmann machine with ``visible="gaussian"`` learns what short stretches of
speech are like, without labels. A linear classifier is then trained on four speakers
and tested on the two others: on the frames, on the whitened frames, and on what the
machine makes of them, for three choices of the two speakers.

Frames that follow each other are much alike, and so are neighbouring bands. The machine
knows how columns vary together; ``PCA`` leaves fifty of 120 directions, which saves
time, and its whitened frames are what features have to be better than.

Run it as ``python examples/plot_spoken_digits.py``: the recordings come from the Free
Spoken Digit Dataset, 16 MB, or from ``--data``, a local ``.npz`` of them. Without a
network, artificial vowels stand in for the digits.
"""

# %%
# Recordings
# ----------
import argparse
import io
import time
import urllib.request
import zipfile

import matplotlib.pyplot as plt
import numpy as np
from scipy.io import wavfile
from scipy.signal import lfilter, stft
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdbm import DBMTransformer

RATE = 8000
ARCHIVE = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/"
    "v1.0.10.zip"
)


def local_recordings(path):
    """Read waveforms, digits and speakers from a file."""
    with np.load(path) as file:
        waves = np.split(file["waveform"], np.cumsum(file["length"])[:-1])
        return waves, file["digit"], file["speaker"]


def public_recordings():
    """Fetch the Free Spoken Digit Dataset."""
    with urllib.request.urlopen(ARCHIVE, timeout=60) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    names = sorted(name for name in archive.namelist() if name.endswith(".wav"))
    waves = [wavfile.read(io.BytesIO(archive.read(name)))[1] for name in names]
    parts = [name.rsplit("/", 1)[1].split("_") for name in names]
    return waves, np.array([int(p[0]) for p in parts]), np.array([p[1] for p in parts])


def artificial_vowels(rng):
    """Synthesise ten vowels by six speakers: pulses through two resonances."""
    first = np.array([300, 400, 550, 650, 750, 600, 500, 450, 350, 350])
    second = np.array([2300, 2000, 1800, 1700, 1200, 1000, 900, 1100, 800, 1500])
    formants = np.stack([first, second], axis=1)
    waves, digits, speakers = [], [], []
    for speaker in range(6):
        pitch, size = rng.uniform(90, 220), rng.uniform(0.85, 1.15)
        for digit in np.repeat(np.arange(10), 30):
            time_points = np.arange(int(RATE * rng.uniform(0.2, 0.4)))
            wave = (
                time_points % int(RATE / (pitch * rng.uniform(0.9, 1.1))) == 0
            ) + 0.0
            for formant in formants[digit] * size * rng.uniform(0.93, 1.07, 2):
                angle = 2 * np.pi * formant / RATE
                wave = lfilter([1], [1, -1.9 * np.cos(angle), 0.9], wave)
            waves.append(wave + 0.01 * wave.std() * rng.normal(size=len(wave)))
            digits.append(digit)
            speakers.append(f"speaker {speaker}")
    return waves, np.array(digits), np.array(speakers)


cli = argparse.ArgumentParser()
cli.add_argument("--data", help="npz with waveform, length, digit and speaker")
path = cli.parse_args().data
try:
    source = "Free Spoken Digit Dataset"
    waves, digits, speakers = local_recordings(path) if path else public_recordings()
except (OSError, zipfile.BadZipFile) as error:
    if path:
        raise
    source = f"artificial vowels ({error})"
    waves, digits, speakers = artificial_vowels(np.random.default_rng(0))
print(f"{source}: {len(waves)} recordings by {len(np.unique(speakers))} speakers")

# %%
# Log-mel frames
# --------------
# The short-time spectrum in 24 bands that are even on the mel scale, every 12.5 ms,
# less its mean over the recording. Five frames side by side make a row.

N_BANDS, WIDTH = 24, 5


def mel_bands(n_points):
    """Triangles over the frequencies of a spectrum, even on the mel scale."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([100, 3900]) / 700)), N_BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequency = np.linspace(0, RATE / 2, n_points)
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def frames(wave):
    """Rows of five neighbouring log-mel frames, one for each frame."""
    wave = wave / np.abs(wave).max()
    spectrum = np.abs(stft(wave, RATE, nperseg=256, noverlap=156)[2]) ** 2
    levels = np.log(mel_bands(len(spectrum)) @ spectrum + 1e-5).T
    levels -= levels.mean(axis=0)
    padded = np.pad(levels, ((WIDTH // 2, WIDTH // 2), (0, 0)), mode="edge")
    return np.hstack([padded[i : i + len(levels)] for i in range(WIDTH)])


rows = [frames(wave).astype(np.float32) for wave in waves]
ends = np.cumsum([len(part) for part in rows])
X = np.concatenate(rows)
speaker_of_row = np.repeat(speakers, [len(part) for part in rows])


def pooled(features):
    """Average the rows of each quarter of a recording."""
    quarters = [
        [quarter.mean(axis=0) for quarter in np.array_split(part, 4)]
        for part in np.split(features, ends[:-1])
    ]
    return np.array(quarters).reshape(len(ends), -1)


# %%
# Features, and speakers never heard
# ----------------------------------
# The machine, like the whitening before it, sees frames of the training speakers alone,
# and the regularisation of the classifier is chosen between them.

rng = np.random.default_rng(0)
accuracy = {}


def judge(name, features, train, test):
    """Accuracy on unheard speakers."""
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        {"logisticregression__C": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3]},
        cv=GroupKFold(4),
        n_jobs=-1,
    ).fit(features[train], digits[train], groups=speakers[train])
    accuracy.setdefault(name, []).append(search.score(features[test], digits[test]))


start = time.perf_counter()
for train, test in GroupKFold(3).split(digits, groups=speakers):
    heard = np.flatnonzero(np.isin(speaker_of_row, np.unique(speakers[train])))
    some = rng.choice(heard, min(15000, len(heard)), replace=False)
    features = make_pipeline(
        PCA(50, whiten=True, random_state=0),
        DBMTransformer(visible="gaussian", max_iter=15, random_state=0),
    ).fit(X[some])
    judge("frames", pooled(X), train, test)
    judge("whitened frames", pooled(features[0].transform(X)), train, test)
    judge("DBM features", pooled(features.transform(X)), train, test)

print(f"{'':16} accuracy on two unheard speakers, three times; mean")
for name, scores in accuracy.items():
    each = "  ".join(f"{score:.3f}" for score in scores)
    print(f"{name:16} {each}   {np.mean(scores):.3f}")
print(f"{time.perf_counter() - start:.0f} s")

# %%
# What the machine listens to
# ---------------------------
# The stretches of speech that a unit of the first layer looks for, as five frames of 24
# bands: the weights carried back through the whitening.

weights = features[1].machine_.weights[0]
stretches = (features[0].inverse_transform(weights.T) - features[0].mean_).reshape(
    -1, WIDTH, N_BANDS
)
strongest = np.argsort(-np.abs(stretches).max(axis=(1, 2)))[:24]
figure, axes = plt.subplots(3, 8, figsize=(8, 5), layout="constrained")
for ax, unit in zip(axes.ravel(), strongest, strict=True):
    largest = np.abs(stretches[unit]).max()
    ax.imshow(
        stretches[unit].T,
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
    )
    ax.set_xticks([])
    ax.set_yticks([])
figure.suptitle("Time to the right, frequency upwards")
figure.savefig("spoken_digits.png", dpi=150)
plt.show()

# sphinx_gallery_thumbnail_path = 'pictures/spoken_digits.png'
