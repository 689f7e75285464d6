"""Where fetched data comes from: files, sizes, checksums, licences; and how it gets into place.

The md5 sums are those that torchvision, Zenodo and the sets' own pages publish. What is not
publicly known is left out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data import imagenet
from bench.errors import BenchError
from bench.files.archives import gunzip, is_archive, merge, unpack
from bench.files.download import Progress, Remote, download, quiet, verify

DOWNLOADS = ".downloads"


@dataclass(frozen=True)
class Source:
    """A data set to fetch.

    files are unpacked (or, if they are no archives, copied) into the folder `into` of the data
    root; holds: paths under the root that are there when it is. manual: why it cannot be fetched
    without a browser. arrange(folder): what is left to do in the unpacked folder.
    """

    name: str
    files: tuple[Remote, ...]
    holds: tuple[str, ...]
    page: str
    licence: str
    into: str = ""
    manual: str = ""
    arrange: Callable[[Path], None] | None = None

    @property
    def bytes(self) -> int:
        """What has to be downloaded."""
        return sum(remote.bytes for remote in self.files)

    def present(self, root: Path) -> bool:
        """Whether it is in the data root."""
        return all((root / path).exists() for path in self.holds)


def _idx(base: Sequence[str], sums: Mapping[str, tuple[int, str]]) -> tuple[Remote, ...]:
    return tuple(
        Remote(name, tuple(address + name for address in base), size, md5=md5)
        for name, (size, md5) in sums.items()
    )


_IDX = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_UFLDL = "http://ufldl.stanford.edu/housenumbers"
_C = tuple(f"{name}.npy" for name in ("labels", "gaussian_noise", "jpeg_compression", "zoom_blur"))

_ALL = (
    Source(
        "cifar10",
        (
            Remote(
                "cifar-10-python.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
                170_498_071,
                md5="c58f30108f718f92721af3b95e74349a",
            ),
        ),
        tuple(f"cifar-10-batches-py/{n}" for n in ("data_batch_1", "data_batch_5", "test_batch")),
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite Krizhevsky 2009",
    ),
    Source(
        "cifar100",
        (
            Remote(
                "cifar-100-python.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
                169_001_437,
                md5="eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
        ("cifar-100-python/train", "cifar-100-python/test"),
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite Krizhevsky 2009",
    ),
    Source(
        "svhn",
        (
            Remote(
                "train_32x32.mat",
                (f"{_UFLDL}/train_32x32.mat",),
                182_040_794,
                md5="e26dedcc434d2e4c54c9b2d4a06d8373",
            ),
            Remote(
                "test_32x32.mat",
                (f"{_UFLDL}/test_32x32.mat",),
                64_275_384,
                md5="eb5a983be6a315427106f1b164d9cef3",
            ),
        ),
        ("train_32x32.mat", "test_32x32.mat"),
        f"{_UFLDL}/",
        "non-commercial use only",
    ),
    Source(
        "tinyimagenet",
        (
            Remote(
                "tiny-imagenet-200.zip",
                (
                    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                    "https://zenodo.org/records/10720917/files/tiny-imagenet-200.zip?download=1",
                ),
                248_100_043,
                md5="90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
        tuple(f"tiny-imagenet-200/{name}" for name in ("wnids.txt", "train", "val")),
        "https://zenodo.org/records/10720917",
        "that of ImageNet: research and education, not commercial",
    ),
    Source(
        "imagenet",
        (
            Remote(
                "ILSVRC2012_img_val.tar", (), 6_744_924_160, md5="29b22e2961454d5413ddabcf34fc5622"
            ),
            Remote("ILSVRC2012_devkit_t12.tar.gz", (), md5="fa75699e90414af021442c21a62c3abf"),
        ),
        ("imagenet/val",),
        "https://image-net.org/download-images.php",
        "terms of access: research and education, not commercial",
        into="imagenet",
        manual="its terms have to be accepted in a browser",
        arrange=imagenet.arrange,
    ),
    Source(
        "mnist",
        _idx(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            {
                "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
                "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
                "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
            },
        ),
        tuple(f"MNIST/raw/{name}-ubyte" for name in _IDX),
        "http://yann.lecun.com/exdb/mnist/",
        "none stated on its page; cite LeCun et al. 1998",
        into="MNIST/raw",
    ),
    Source(
        "fashionmnist",
        _idx(
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            ),
            {
                "train-images-idx3-ubyte.gz": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                "train-labels-idx1-ubyte.gz": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
                "t10k-images-idx3-ubyte.gz": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
                "t10k-labels-idx1-ubyte.gz": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
            },
        ),
        tuple(f"FashionMNIST/raw/{name}-ubyte" for name in _IDX),
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT",
        into="FashionMNIST/raw",
    ),
    Source(
        "cifar10-c",
        (
            Remote(
                "CIFAR-10-C.tar",
                ("https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1",),
                2_918_471_680,
                md5="56bf5dcef84df0e2308c6dcbcbbd8499",
            ),
        ),
        tuple(f"CIFAR-10-C/{name}" for name in _C),
        "https://zenodo.org/records/2535967",
        "CC BY 4.0",
    ),
    Source(
        "cifar100-c",
        (
            Remote(
                "CIFAR-100-C.tar",
                ("https://zenodo.org/records/3555552/files/CIFAR-100-C.tar?download=1",),
                2_918_473_216,
                md5="11f0ed0f1191edbf9fa23466ae6021d3",
            ),
        ),
        tuple(f"CIFAR-100-C/{name}" for name in _C),
        "https://zenodo.org/records/3555552",
        "CC BY 4.0",
    ),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}


def fetch(
    source: Source, root: Path, given: Sequence[Path] = (), progress: Progress = quiet
) -> bool:
    """Put a data set into the data root, whole or not at all; False when it was there already.

    given: files that the user has, in place of those that would be downloaded.

    Raises:
        BenchError: a file that is wrong or cannot be had; nothing is changed then.
    """
    if source.present(root):
        return False
    known = {remote.name for remote in source.files}
    if given and not known & {path.name for path in given}:
        raise BenchError(
            f"none of the given files belongs to '{source.name}': they are called "
            f"{' and '.join(sorted(known))} there; rename what you have"
        )
    downloads = root / DOWNLOADS
    paths, fetched = [], []
    for remote in source.files:
        path = next((path for path in given if path.name == remote.name), None)
        if path is not None:
            verify(path, remote)
        elif not remote.urls:
            raise BenchError(
                f"'{source.name}' cannot be fetched: {source.manual}. Get {remote.name} from "
                f"{source.page}, then: bench fetch {source.name} "
                + " ".join(f"--from {file.name}" for file in source.files)
            )
        else:
            path = download(remote, downloads, progress)
            fetched.append(path)
        paths.append(path)
    install(source, root, paths)
    for path in fetched:
        path.unlink()
    return True


def install(source: Source, root: Path, paths: Sequence[Path]) -> None:
    """Unpack files beside the data root's other folders and move them into place when all is well.

    Raises:
        BenchError: an archive that is damaged or does not hold the data set.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{source.name}-", dir=root))
    except OSError as error:
        raise BenchError(f"cannot write to {root}: {error.strerror or error}") from None
    try:
        folder = staging / source.into
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            if is_archive(path):
                unpack(path, folder)
            elif path.suffix == ".gz":
                gunzip(path, folder / path.stem)
            else:
                shutil.copyfile(path, folder / path.name)
        if source.arrange is not None:
            source.arrange(folder)
        if lacking := [name for name in source.holds if not (staging / name).exists()]:
            raise BenchError(f"{paths[0]} does not hold {source.name}: no {lacking[0]} in it")
        os.sync()
        merge(staging, root)
    except OSError as error:
        raise BenchError(f"cannot write to {root}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
