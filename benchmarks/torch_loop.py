"""The same networks and update in PyTorch, tuned as its documentation advises, for timings.

channels_last, fused Adam, no gradients of D's weights while G learns; optionally
`torch.compile` for each of the steps, autocast to bfloat16, and on a GPU the whole update as a CUDA graph.
"""

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LATENT_DIM = 100
LOGIT_BOUND = 16.118


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(LATENT_DIM, 8192)
        self.blocks = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128, eps=1e-3, momentum=1 - 0.78),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64, eps=1e-3, momentum=1 - 0.78),
            nn.ReLU(),
            nn.Conv2d(64, 3, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.dense(z)).view(-1, 128, 8, 8)
        return self.blocks(x.contiguous(memory_format=torch.channels_last))


def discriminator() -> nn.Sequential:
    """Build the discriminator with Keras' padding for stride 2: even sizes by 0 and 1, odd ones by 1 and 1."""

    def after(momentum: float, width: int, slope: float) -> list[nn.Module]:
        norm = nn.BatchNorm2d(width, eps=1e-3, momentum=1 - momentum)
        return [norm, nn.LeakyReLU(slope), nn.Dropout(0.25)]

    return nn.Sequential(
        *[nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 32, 3, 2), nn.LeakyReLU(0.2), nn.Dropout(0.25)],
        *[nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(32, 64, 3, 2), nn.ZeroPad2d((0, 1, 0, 1)), *after(0.82, 64, 0.25)],
        *[nn.Conv2d(64, 128, 3, 2, padding=1), *after(0.82, 128, 0.2)],
        *[nn.Conv2d(128, 256, 3, padding=1), *after(0.8, 256, 0.25)],
        *[nn.Flatten(), nn.Linear(5 * 5 * 256, 1)],
    )


def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    clipped = logits.float().clamp(-LOGIT_BOUND, LOGIT_BOUND)
    return functional.binary_cross_entropy_with_logits(clipped, target)


class TorchLoop:
    """images: (N, 32, 32, 3) uint8. Each call is one update."""

    def __init__(
        self,
        images: np.ndarray,
        update_rule: str,
        *,
        batch_size: int = 32,
        compiled: bool = False,
        bfloat16: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_default_device(self.device)
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.images = pixels.contiguous(memory_format=torch.channels_last)
        self.batch_size = batch_size
        self.valid, self.fake = 1 + 0.05 * torch.rand(batch_size, 1), 0.05 * torch.rand(batch_size, 1)
        self.g = Generator().to(memory_format=torch.channels_last)
        self.d = discriminator().to(memory_format=torch.channels_last)
        adam = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": True, "capturable": self.device == "cuda"}
        self.g_adam = torch.optim.Adam(self.g.parameters(), **adam)
        self.d_adam = torch.optim.Adam(self.d.parameters(), **adam)
        self.cast = torch.autocast(self.device, torch.bfloat16) if bfloat16 else contextlib.nullcontext()
        # Compiled are the networks: their pass forward and, through autograd, the one back.
        self.generate = torch.compile(self.g) if compiled else self.g
        self.discriminate = torch.compile(self.d) if compiled else self.d
        self.update = {"tutorial": self._tutorial, "batch": self._batch}[update_rule]

    def __call__(self) -> torch.Tensor:
        real = self.images[torch.randint(len(self.images), (self.batch_size,))]
        z = torch.randn(self.batch_size, LATENT_DIM)
        return self.update(real, z)

    def as_graph(self) -> Callable[[], torch.Tensor]:
        """Return the update, draws included, as a CUDA graph to be replayed."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # as PyTorch's documentation has it: some updates beside the main stream first
            for _ in range(3):
                self()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            value = self()

        def replay() -> torch.Tensor:
            graph.replay()
            return value

        return replay

    def _tutorial(self, real: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        self.g.eval()
        with torch.no_grad(), self.cast:
            fake = self.generate(z).float()
        self.g.train()
        for images, target in ((real, self.valid), (fake, self.fake)):
            self.d_adam.zero_grad()
            with self.cast:
                value = loss(self.discriminate(images), target)
            value.backward()
            self.d_adam.step()
        with self.cast:
            fake = self.generate(z)
        return self._learn_generator(fake)

    def _batch(self, real: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        self.d_adam.zero_grad()
        with self.cast:
            fake = self.generate(z)
            d_real, d_fake = self.discriminate(real), self.discriminate(fake.detach())
            value = (loss(d_real, self.valid) + loss(d_fake, self.fake)) / 2
        value.backward()
        self.d_adam.step()
        return self._learn_generator(fake)

    def _learn_generator(self, fake: torch.Tensor) -> torch.Tensor:
        self.d.requires_grad_(False)
        self.g_adam.zero_grad()
        with self.cast:
            value = loss(self.discriminate(fake), self.valid)
        value.backward()
        self.g_adam.step()
        self.d.requires_grad_(True)
        return value.detach()
