"""From 1,797 small digits to new ones: train an NVAE, draw, reconstruct, walk from one digit to another.

Run: python examples/draw_digits.py        (about a minute and a half on two cores)

The digits are scikit-learn's, 8 x 8 pixels; the pictures go to the current folder.
"""

import tempfile
from pathlib import Path

import torch

from shoestring.nvae import NVAE, evaluate, preset, read_images, readjusted, train
from shoestring.nvae.images import remembered, unseen
from shoestring.nvae.inference import pictures
from shoestring.nvae.inference.evaluation import prepared_batches
from shoestring.nvae.inference.latents import between
from shoestring.nvae.model.likelihoods import mean_image
from shoestring.nvae.training.settings import recipe
from shoestring.ui import UI


def main() -> None:
    images = read_images("digits")
    with tempfile.TemporaryDirectory() as folder:
        done = train(
            images, preset("digits"), recipe("digits", steps=300), Path(folder, "digits"), ui=UI(quiet=True)
        )
        model = NVAE.from_pretrained(done.folder)
        new = unseen(images, remembered(done.folder))  # a tenth was held out

    found = evaluate(model, new, samples=20)
    print(f"{-found.elbo:.0f} nats per unseen digit; {-found.importance_weighted:.0f} by 20 samples")
    print(
        f"{found.active} of {found.latents} latent channels say something; {done.skipped} steps were skipped"
    )

    torch.manual_seed(0)
    pictures.write("samples.png", readjusted(model, 0.7).sample(36, temperature=0.7))
    x = next(prepared_batches(model, new, 8, seed=0))
    pictures.write("reconstructions.png", torch.cat([x, model.reconstruct(x)]), columns=8)
    latents = model.encode(x[:2])
    walk = between([z[0] for z in latents], [z[1] for z in latents], steps=12)
    pictures.write("walk.gif", mean_image(model.decode(walk), model.config))
    print("samples.png, reconstructions.png, walk.gif")


if __name__ == "__main__":
    main()

# Expected output (the figures differ a little between machines):
#
# 90 nats per unseen digit; 87 by 20 samples
# 13 of 16 latent channels say something; 0 steps were skipped
# samples.png, reconstructions.png, walk.gif
