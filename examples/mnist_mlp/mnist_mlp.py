"""A perceptron on MNIST's IDX files.

    python examples/mnist_mlp/mnist_mlp.py [FOLDER] [--epochs 10]

FOLDER holds `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz` and the two `t10k-...` files; by default it
is `../shared/data/mnist` beside the repository. With only the `t10k` files there, its 10,000 digits are divided: 8,000
to train on, 2,000 to test.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import graphc
from graphc.mnist import load_mnist
from graphc.run_folder import write_run_folder

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist_mlp"), help="the run folder")
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")

    training, test = load_mnist(arguments.folder)
    model = graphc.compile(SOURCE)
    model.init(seed=0)
    start = time.perf_counter()
    history = model.fit(training, batch=arguments.batch, epochs=arguments.epochs, validation=test, seed=0)
    seconds = time.perf_counter() - start
    accuracy = float(model.evaluate(**test)["accuracy"])
    print(f"trained on {len(training['label'])} digits in {seconds:.1f} s")
    print(f"test accuracy: {100 * accuracy:.2f} % of {len(test['label'])}")
    print(f"{arguments.out}/")
    for line in write_run_folder(arguments.out, model, history):
        print(f"  {line}")


if __name__ == "__main__":
    main()
