"""Arrays read from the disk by rows are the arrays that were written."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from clamp3.data.disk_array import DiskArray, save_array
from clamp3.errors import DataError


@pytest.mark.parametrize("pread", [True, False])
def test_rows_and_slices(tmp_path, monkeypatch, pread):
    if not pread:
        monkeypatch.delattr(os, "pread")
    values = np.arange(60, dtype=np.int32).reshape(10, 3, 2)
    save_array(tmp_path / "a.npy", values)
    (tmp_path / "a.raw").write_bytes(values.tobytes())
    for rows in (DiskArray(tmp_path / "a.npy"), DiskArray(tmp_path / "a.raw", np.int32, (3, 2))):
        for found in (rows, pickle.loads(pickle.dumps(rows))):
            assert len(found) == 10
            assert found.shape == values.shape
            np.testing.assert_array_equal(found.all(), values)
            for index in (0, 9, -1):
                np.testing.assert_array_equal(found[index], values[index])
            for part in (slice(2, 5), slice(8, 99), slice(4, 4), slice(None)):
                np.testing.assert_array_equal(found[part], values[part])
            with pytest.raises(IndexError):
                found[10]


def test_no_rows_and_a_file_that_lost_some(tmp_path):
    save_array(tmp_path / "none.npy", np.zeros((0, 4)))
    assert DiskArray(tmp_path / "none.npy")[:].shape == (0, 4)
    save_array(tmp_path / "a.npy", np.arange(1000))
    rows = DiskArray(tmp_path / "a.npy")
    os.truncate(tmp_path / "a.npy", 500)
    assert rows[3] == 3
    with pytest.raises(DataError, match="has become shorter"):
        rows[900]
