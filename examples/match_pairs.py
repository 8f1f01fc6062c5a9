"""A threshold you can trust: exact, with an interval, and honest about the pairs that chose it.

Run: python examples/match_pairs.py        (a second; numpy only)

The scores stand for those of an encoder: those of matching pairs are higher on average, all of them lie close
together, and so 0.5 or 0.8 would be a useless guess.
"""

import numpy as np

from shoestring.match.deciding.threshold import Curve, bootstrap


def scored(count: int, seed: int) -> Curve:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return Curve.of(np.round(0.94 + 0.01 * (rng.normal(size=count) + 1.5 * labels), 3), labels)


def main() -> None:
    dev, test = scored(500, seed=1), scored(5000, seed=2)
    print(f"guess 0.8: accuracy {test.at(0.8, 'accuracy').value:.3f}")
    for metric in ("accuracy", "f1", "mcc", "cost=5,1", "recall@precision=0.9"):
        cut, unsure = dev.best(metric), bootstrap(dev, metric)
        low, high = unsure.threshold
        expected, measured = cut.value - unsure.optimism, test.at(cut.threshold, metric).value
        print(
            f"{metric:>20}: threshold {cut.threshold:.4f} ({low:.4f} to {high:.4f}), here {cut.value:+.3f}, "
            f"elsewhere {expected:+.3f} expected, {measured:+.3f} measured"
        )


if __name__ == "__main__":
    main()

# Expected output:
#
# guess 0.8: accuracy 0.494
#             accuracy: threshold 0.9475 (0.9425 to 0.9515), here +0.778, elsewhere +0.765 expected, +0.778 measured
#                   f1: threshold 0.9435 (0.9415 to 0.9475), here +0.797, elsewhere +0.790 expected, +0.782 measured
#                  mcc: threshold 0.9515 (0.9425 to 0.9525), here +0.578, elsewhere +0.557 expected, +0.544 measured
#             cost=5,1: threshold 0.9545 (0.9515 to 0.9595), here -0.344, elsewhere -0.363 expected, -0.411 measured
# recall@precision=0.9: threshold 0.9525 (0.9505 to 0.9585), here +0.606, elsewhere +0.605 expected, +0.622 measured
