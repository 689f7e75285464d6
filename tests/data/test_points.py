"""Files of attacked images: what is read, what is refused, and that what passes is in the ball."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.api.ball import TOLERANCE, ThreatModel
from bench.data.points import check, described, origin, pack, pack_submission, place, read
from bench.data.subsets import Subset
from bench.errors import BenchError
from tests.results.test_results import CELL, RECORD

SHAPE = (1, 4, 4)
SUBSET = Subset("digits", "toy", "test", "", "", (7, 3, 5, 1), (0, 1, 0, 1), (7, 3, 5, 1))
LINF = ThreatModel.parse("linf:8/255")
Array = NDArray[Any]


def clean(count: int = 4) -> Array:
    """Images on the grid k/255, away from 0 and 255."""
    levels = np.random.default_rng(0).integers(20, 236, (count, *SHAPE))
    return (levels.astype(np.float32) / 255).astype(np.float32)


def moved(by: float = 8 / 255) -> Array:
    """Every pixel by `by`, up or down."""
    signs = np.random.default_rng(1).choice([-1.0, 1.0], clean().shape)
    return (clean() + by * signs).astype(np.float32)


def save(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["x_adv"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        tensors = {key: np.asarray(value) for key, value in arrays.items()}
        index, label = tensors.get("index", range(4)), tensors.get("label", range(4))
        path.write_bytes(
            pack_submission(SUBSET, torch.from_numpy(tensors["x_adv"]), list(index), list(label))
        )
    return path


def verified(path: Path, threat: ThreatModel = LINF) -> tuple[torch.Tensor, tuple[int, ...]]:
    """The points of a file, checked against the toy subset's images; x is in its order."""
    points = read(path, "digits", SHAPE, len(SUBSET))
    index = place(points, SUBSET)
    rows = [SUBSET.index.index(image) for image in index]
    y = torch.tensor(SUBSET.label)[rows]
    check(points, index, torch.from_numpy(clean())[rows], y, threat)
    return points.x_adv, index


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors"])
def test_points_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    arrays = {"x_adv": moved(), "index": np.array(SUBSET.index), "label": np.array(SUBSET.label)}
    found, index = verified(save(tmp_path / name, **arrays))
    assert found.shape == (1, 4, *SHAPE)
    assert np.array_equal(found[0].numpy(), moved())
    assert index == SUBSET.index


def test_what_a_run_stores_says_which_cell_it_is_of() -> None:
    x = torch.rand(2, *SHAPE)
    assert pack(CELL, 3, "test", RECORD, x) == pack(CELL, 3, "test", RECORD, x)


def test_stored_points_are_read_with_their_cell_and_variants(tmp_path: Path) -> None:
    file = tmp_path / "000.safetensors"
    x = torch.rand(3, 2, *SHAPE)
    record = replace(RECORD, variants=("fog/1", "fog/2", "fog/3"))
    file.write_bytes(pack(CELL, 3, "test", record, x))
    points = read(file, "digits", SHAPE)
    assert torch.equal(points.x_adv, x)
    assert (points.variants, points.index, points.label) == (record.variants, (3, 1), (0, 1))
    assert origin(file, described(file)) == (CELL, 3)
    with pytest.raises(BenchError, match="of data set 'digits', not 'patches'"):
        read(file, "patches", SHAPE)
    with pytest.raises(BenchError, match=r"torch\.float64"):
        pack(CELL, 3, "test", record, x.double())


def test_any_order_and_any_part_of_the_subset(tmp_path: Path) -> None:
    arrays = {"x_adv": moved()[[3, 1]], "index": np.array([1, 3]), "label": np.array([1, 1])}
    found, index = verified(save(tmp_path / "a.npz", **arrays))
    assert index == (1, 3)
    assert np.array_equal(found[0].numpy(), moved()[[3, 1]])


def test_eight_bits_are_levels(tmp_path: Path) -> None:
    levels = np.round(clean() * 255).astype(np.uint8)
    found, _ = verified(save(tmp_path / "a.npy", x_adv=levels + np.uint8(8)))
    assert torch.allclose(found[0], torch.from_numpy(clean()) + 8 / 255, atol=1e-6)
    with pytest.raises(
        BenchError, match=r"image 7 \(row 0\) is outside linf:8/255: distance 0\.03"
    ):
        verified(save(tmp_path / "b.npy", x_adv=levels + np.uint8(9)))


def change(place: tuple[int, ...], value: float) -> Array:
    points = moved()
    points[place] = value
    return points


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too far": (
        {"x_adv": np.where(np.arange(4).reshape(4, 1, 1, 1) == 2, moved(9 / 255), moved())},
        r"image 5 \(row 2\) is outside linf:8/255: distance 0\.0352\d*, at most 0\.0313725",
    ),
    "all too far": ({"x_adv": moved(0.2)}, r"image 7 \(row 0\) .*distance 0\.2\d*.* 3 more"),
    "above 1": ({"x_adv": change((1, 0, 0, 0), 1.0001)}, r"image 3 \(row 1\) is outside \[0,1\]"),
    "below 0": ({"x_adv": change((1, 0, 0, 0), -1e-7)}, r"outside \[0,1\]: pixels in \[-1e-07"),
    "nan": ({"x_adv": change((3, 0, 1, 1), np.nan)}, r"image 1 \(row 3\) .* not finite"),
    "inf": ({"x_adv": change((3, 0, 1, 1), np.inf)}, r"image 1 \(row 3\) .* not finite"),
    "shape": ({"x_adv": moved().transpose(0, 2, 3, 1)}, r"must be \[N, 1, 4, 4\], N up to 4"),
    "no batch": ({"x_adv": moved()[0]}, r"must be \[N, 1, 4, 4\]"),
    "empty": ({"x_adv": moved()[:0]}, r"must be \[N, 1, 4, 4\]"),
    "one number": ({"x_adv": np.float32(3)}, r"must be \[N, 1, 4, 4\]"),
    "too many": ({"x_adv": np.concatenate([moved(), moved()])}, "at most 4|N up to 4"),
    "double": ({"x_adv": moved().astype(np.float64)}, "float64; they may be float32 or uint8"),
    "no points": ({"x": moved()}, "no 'x_adv' in it"),
    "wrong index": ({"x_adv": moved(), "index": [7, 3, 5, 2]}, r"image 2 \(row 3\) is not in"),
    "twice": ({"x_adv": moved(), "index": [7, 3, 7, 1]}, "image 7 is there twice"),
    "short index": ({"x_adv": moved(), "index": [7, 3]}, "index is int64 .* each of 4 images"),
    "float index": ({"x_adv": moved(), "index": [7.0, 3, 5, 1]}, "index is float64"),
    "label": (
        {"x_adv": moved(), "label": [0, 1, 1, 1]},
        r"image 5 \(row 2\) has label 1, the data set says 0",
    ),
}


@pytest.mark.parametrize(("arrays", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_attack_is_refused_by_image_and_distance(
    tmp_path: Path, arrays: dict[str, Any], says: str
) -> None:
    path = tmp_path / "a.npz"
    given: dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
    np.savez(path, **given)
    with pytest.raises(BenchError, match=says) as refused:
        verified(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_images_of_another_index_are_too_far(tmp_path: Path) -> None:
    arrays = {"x_adv": moved(), "index": np.array([3, 7, 5, 1])}
    with pytest.raises(BenchError, match=r"image 3 \(row 0\) is outside"):
        verified(save(tmp_path / "a.npz", **arrays))


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


def header_of(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """An .npy file that promises such an array and ends there."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x_adv.npy", content)
    return stream.getvalue()


def objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def whole(suffix: str) -> bytes:
    stream = io.BytesIO()
    if suffix == ".npy":
        np.save(stream, moved())
    elif suffix == ".npz":
        np.savez_compressed(stream, x_adv=moved(), index=np.array(SUBSET.index))
    else:
        label = SUBSET.label
        return pack_submission(SUBSET, torch.from_numpy(moved()), SUBSET.index, label)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npy", pickle.dumps(Evil()), "not a whole .npy"),
        ("a.npy", objects(), "a pickle, which is not opened"),
        ("a.npz", zipped(objects()), "a pickle, which is not opened"),
        ("a.npz", pickle.dumps(Evil()), "not a whole .npz"),
        ("a.safetensors", pickle.dumps(Evil()), "not a whole safetensors"),
        ("a.npy", whole(".npy")[:-1], "not a whole .npy"),
        ("a.npz", whole(".npz")[:-30], "not a whole .npz"),
        ("a.safetensors", whole(".safetensors")[:-1], "not a whole safetensors"),
        ("a.npy", b"", "not a whole .npy"),
        ("a.npz", b"", "not a whole .npz"),
        ("a.safetensors", b"", "not a whole safetensors"),
        ("a.npy", whole(".npy") * 2, "more than one array"),
        ("a.npy", header_of((2**40, *SHAPE)), "at most 4 of"),
        ("a.npz", zipped(header_of((4, 2**20, 2**20, 1))), "at most 4 of"),
        ("a.npz", zipped(header_of((4, *SHAPE), "|V1000000000")), "bytes for each number"),
        ("a.pt", b"", "points lie in .safetensors, .npz, .npy files"),
    ],
)
def test_damaged_hostile_and_pickled_files_are_refused(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BenchError, match=says) as refused:
        verified(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_points_or_a_refusal(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    content = bytearray(whole(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / f"a{suffix}"
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(BenchError):
        verified(file)


def test_damaged_metadata_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    content = pack(CELL, 0, "test", RECORD, torch.rand(2, *SHAPE))
    assert content.count(CELL.digest.encode()) == 1
    file.write_bytes(content.replace(CELL.digest.encode(), b"0" * 16))
    with pytest.raises(BenchError, match="damaged metadata"):
        read(file, "digits", SHAPE)


@st.composite
def files(draw: st.DrawFn) -> tuple[ThreatModel, Array]:
    """A threat, and points about its border as float32 or uint8, some of them spoilt."""
    threat = ThreatModel.parse(draw(st.sampled_from(["linf:8/255", "l2:0.5", "linf:0.3", "l2:2"])))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    delta = random.standard_normal(clean().shape)
    if threat.norm == "linf":
        delta = np.sign(delta)
    else:
        delta /= np.sqrt((delta**2).sum(axis=(1, 2, 3), keepdims=True))
    scale = draw(st.sampled_from([0.5, 1.0, 1.0 + 1e-6, 1.0 + 1e-4, 1.5]))
    x_adv: Array = (clean() + threat.eps * scale * delta).astype(np.float32)
    if draw(st.booleans()):
        x_adv = x_adv.clip(0, 1)
    if (pixel := draw(st.one_of(st.none(), st.floats(width=32)))) is not None:
        x_adv[tuple(random.integers(0, x_adv.shape))] = pixel
    if draw(st.booleans()):
        x_adv = np.round(np.nan_to_num(x_adv).clip(0, 1) * 255).astype(np.uint8)
    return threat, x_adv


def test_whatever_passes_is_inside_the_ball(tmp_path: Path) -> None:
    """Computed once more, in double precision and by NumPy alone."""
    passed = []

    @settings(max_examples=150, deadline=None)
    @given(files())
    def holds(drawn: tuple[ThreatModel, Array]) -> None:
        threat, x_adv = drawn
        try:
            found, _ = verified(save(tmp_path / "a.npy", x_adv=x_adv), threat)
        except BenchError:
            return
        passed.append(threat)
        exact = found[0].numpy().astype(np.float64)
        gap = np.abs(exact - clean().astype(np.float64)).reshape(4, -1)
        size = gap.max(1) if threat.norm == "linf" else np.sqrt((gap**2).sum(1))
        assert np.isfinite(exact).all()
        assert exact.min() >= 0
        assert exact.max() <= 1
        assert (size <= threat.eps + 20 * TOLERANCE * max(1.0, threat.eps)).all()

    holds()
    assert {threat.norm for threat in passed} == {"linf", "l2"}


def test_float32_rounding_is_within_the_tolerance(tmp_path: Path) -> None:
    """Points at the border, of images and steps computed in whatever order, are not refused."""
    x = clean()
    step = np.float32(8 / 255)
    for border in (x + step, x - step, ((x * 255) + 8) / 255, (x.astype(np.float64) + 8 / 255)):
        verified(save(tmp_path / "a.npy", x_adv=np.asarray(border, dtype=np.float32)))


def test_metadata_of_a_submission_names_its_images(tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", x_adv=moved(), index=SUBSET.index, label=SUBSET.label)
    assert described(file) == {"dataset": "digits", "subset": "toy", "split": "test"}
    assert json.loads(json.dumps(described(file)))
    assert described(tmp_path / "nowhere.safetensors") == {}
