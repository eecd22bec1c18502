"""The classification extension: the k largest values with index and label, the largest first."""

import numpy as np
import pytest

from headrace.core import strings
from headrace.core.classification import classify
from headrace.core.tensor import DATATYPES
from support.scheduling import spec


def classes(values, count, *, batches=True, labels=(), datatype=None):
    names = {each.numpy: name for name, each in DATATYPES.items() if name != "BF16"}
    kind = datatype or names[values.dtype]
    tensor = classify(spec("y", kind, labels=labels), values, count, batches=batches)
    assert tensor.datatype is DATATYPES["BYTES"]
    elements = [element.decode() for element in strings.unpack(tensor.data)]
    assert len(elements) == int(np.prod(tensor.shape))
    return tensor.shape, elements


def test_each_row_has_its_best_classes_with_labels_where_there_are_any():
    values = np.array([[0.1, 0.7, 0.2], [5, -1, 4]], np.float32)
    shape, elements = classes(values, 2, labels=("cat", "dog"))
    assert shape == (2, 2)
    assert elements == ["0.700000:1:dog", "0.200000:2", "5.000000:0:cat", "4.000000:2"]


def test_more_classes_than_there_are_means_all():
    assert classes(np.array([[1, 2]], np.int64), 100) == ((1, 2), ["2.000000:1", "1.000000:0"])


def test_everything_behind_the_batch_is_one_list():
    values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert classes(values, 1) == ((2, 1), ["3.000000:3", "7.000000:3"])
    assert classes(values, 1, batches=False) == ((1,), ["7.000000:7"])


def test_equal_values_keep_their_order():
    assert classes(np.zeros((1, 4), np.float32), 3)[1] == ["0.000000:0", "0.000000:1", "0.000000:2"]


@pytest.mark.parametrize(
    ("datatype", "smallest", "largest"),
    [
        ("INT8", -128, 127),
        ("UINT8", 0, 255),
        ("INT32", -(2**31), 2**31 - 1),
        ("UINT32", 0, 2**32 - 1),
        ("FP16", -65504, 65504),
    ],
)
def test_the_ends_of_a_datatypes_range_are_ranked_right(datatype, smallest, largest):
    values = np.array([[smallest, largest, 0, 1]], DATATYPES[datatype].numpy)
    _, elements = classes(values, 4)
    assert elements[0].split(":")[1] == "1"
    order = [float(element.split(":")[0]) for element in elements]
    assert order == sorted(order, reverse=True)


def test_infinities_lead_and_end_and_nan_comes_last():
    values = np.array([[np.nan, 1, np.inf, -np.inf]], np.float32)
    _, elements = classes(values, 4)
    assert [element.split(":")[1] for element in elements] == ["2", "1", "3", "0"]


def test_bfloat16_is_read_as_the_upper_half_of_a_float():
    bits = (np.array([[1.5, -2, 3]], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert classes(bits, 2, datatype="BF16")[1] == ["3.000000:2", "1.500000:0"]
