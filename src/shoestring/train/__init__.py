"""One training loop for every model of the package: settings in, a trained model, a log and a curve out.

- `TrainSettings`: what a run is; the learning rate of every step is a pure function of it.
- `fit`: trains a Hugging Face model; interrupted and run again, it goes on to the same weights, bit for bit.
- `History`: what a run did, read back from its log.

The loop is transformers' Trainer on accelerate: `torchrun` and `accelerate launch` work as they do there.
"""

from shoestring.train.record import History
from shoestring.train.run import fit
from shoestring.train.settings import TrainSettings

__all__ = ["History", "TrainSettings", "fit"]
