#!/usr/bin/env python3
"""Images a second of PyTorch on the network that `cargo bench --bench training` trains, on the same made-up batch.

usage: training.py CKPT [--size N] [--batch N] [--prompts N] [--threads N] [--seconds S] [--low-resolution]

CKPT is an f32 checkpoint as `causalclipseg-convert import` writes it. The network is written as its users write it: a
convolution behind each upsampling, batch norms of PyTorch's own, one grouped convolution for all prompts, a fused AdamW.
--low-resolution computes the convolutions behind upsamplings as nine products of the small map, as our trainer does.

needs: pip install torch
"""
import argparse
import json
import statistics
import struct
import time

import torch
import torch.nn.functional as F
from torch import nn


def read_checkpoint(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = bytearray(file.read())
    kinds = {"F32": torch.float32, "F16": torch.float16}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in kinds:
            start, end = entry["data_offsets"]
            values = torch.frombuffer(body, dtype=kinds[entry["dtype"]], offset=start, count=(end - start) // kinds[entry["dtype"]].itemsize)
            tensors[name] = values.float().reshape(entry["shape"])
    return tensors


def cbr(inputs, outputs, kernel):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride, first):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.stride = stride
        if first:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        shortcut = x
        if self.stride > 1:
            y, shortcut = F.avg_pool2d(y, self.stride), F.avg_pool2d(x, self.stride)
        y = self.bn3(self.conv3(y))
        if hasattr(self, "downsample"):
            shortcut = self.downsample(shortcut)
        return F.relu(y + shortcut)


class AttentionPool(nn.Module):
    def __init__(self, width, heads, embed, positions):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(positions, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, embed)
        self.connect = nn.Sequential(nn.Conv2d(width, embed, 1, bias=False), nn.BatchNorm2d(embed))
        self.heads = heads

    def forward(self, x):
        batch, width, rows, columns = x.shape
        s = x.flatten(2).transpose(1, 2) + self.positional_embedding[1:]
        split = lambda t: t.reshape(batch, -1, self.heads, width // self.heads).transpose(1, 2)
        s = F.scaled_dot_product_attention(split(self.q_proj(s)), split(self.k_proj(s)), split(self.v_proj(s)))
        s = self.c_proj(s.transpose(1, 2).reshape(batch, -1, width))
        return F.relu(s.transpose(1, 2).reshape(batch, -1, rows, columns) + self.connect(x))


class ImageEncoder(nn.Module):
    def __init__(self, width, layers, embed, positions):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(layers):
            blocks = []
            for block in range(count):
                blocks.append(Bottleneck(inputs, width << stage, 2 if stage and not block else 1, not block))
                inputs = (width << stage) * 4
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(inputs, width // 2, embed, positions)

    def forward(self, x):
        for number in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))
        x = self.layer1(F.avg_pool2d(x, 2))
        v3 = self.layer2(x)
        v4 = self.layer3(v3)
        return v3, v4, self.attnpool(self.layer4(v4))


class TextBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask, is_causal=True)[0]
        y = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(y * torch.sigmoid(1.702 * y))


class Backbone(nn.Module):
    def __init__(self, t):
        super().__init__()
        blocks = lambda prefix: 1 + max(int(n[len(prefix):].split(".")[0]) for n in t if n.startswith(prefix))
        layers = [blocks(f"backbone.visual.layer{stage}.") for stage in (1, 2, 3, 4)]
        width = t["backbone.visual.conv3.weight"].shape[0]
        embed = t["backbone.visual.attnpool.c_proj.weight"].shape[0]
        self.visual = ImageEncoder(width, layers, embed, len(t["backbone.visual.attnpool.positional_embedding"]))
        vocabulary, text_width = t["backbone.token_embedding.weight"].shape
        self.token_embedding = nn.Embedding(vocabulary, text_width)
        self.positional_embedding = nn.Parameter(torch.zeros_like(t["backbone.positional_embedding"]))
        self.transformer = nn.Module()
        count = blocks("backbone.transformer.resblocks.")
        # CLIP's heads have 64 channels; the tiny edition's 32.
        heads = text_width // 64 if text_width > 64 else 2
        self.transformer.resblocks = nn.ModuleList(TextBlock(text_width, heads) for _ in range(count))
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.zeros_like(t["backbone.text_projection"]))

    def encode(self, tokens):
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        mask = torch.full((tokens.shape[1],) * 2, -torch.inf).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        return self.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)] @ self.text_projection


def with_coordinates(x):
    batch, _, height, width = x.shape
    y, x_axis = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.cat([x, torch.stack([x_axis, y]).expand(batch, 2, height, width)], 1)


class CoordinateConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = cbr(channels + 2, channels, 3)

    def forward(self, x):
        return self.conv1(with_coordinates(x))


class Masker(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.coordconv, self.conv2, self.coordconv2 = CoordinateConv(channels), cbr(channels, channels, 3), CoordinateConv(channels)
        self.conv, self.bn = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.sigmoid(self.bn(self.conv(self.coordconv2(self.conv2(self.coordconv(x))))))


class Carafe(nn.Module):
    def __init__(self, embed, decoder):
        super().__init__()
        self.down, self.encoder = nn.Conv2d(embed, embed // 4, 1), nn.Conv2d(embed // 4, 36, 3, padding=1)
        self.out = nn.Conv2d(embed, decoder, 1)

    def forward(self, x):
        batch, channels, height, width = x.shape
        weights = self.encoder(self.down(x)).reshape(batch, 9, 4, height * width).softmax(1)
        neighbours = F.unfold(x, 3, padding=1).reshape(batch, channels, 9, height * width)
        y = torch.einsum("bcth,btsh->bcsh", neighbours, weights).reshape(batch, channels * 4, height, width)
        return self.out(F.pixel_shuffle(y, 2))


class Neck(nn.Module):
    def __init__(self, v3, v4, embed, decoder):
        super().__init__()
        self.f2_v_proj, self.f4_proj4 = cbr(v4, decoder, 3), cbr(decoder, decoder, 3)
        self.carafe = Carafe(embed, decoder)
        self.masker3, self.masker4, self.masker5 = Masker(v3), Masker(decoder), Masker(decoder)
        self.aggr = cbr(v3 + 2 * decoder, decoder, 1)

    def queries(self, v3, v4, v5):
        return F.avg_pool2d(v3, 2), self.f4_proj4(self.f2_v_proj(v4)), self.carafe(v5)

    def masks(self, queries):
        return [masker(q) for masker, q in zip((self.masker3, self.masker4, self.masker5), queries)]

    def forward(self, queries, masks):
        causal = self.aggr(torch.cat([q * m for q, m in zip(queries, masks)], 1))
        return causal, self.aggr(torch.cat([q * (1 - m) for q, m in zip(queries, masks)], 1))


def shifted_taps(size, scale):
    """3 size x scaled: what each output reads of the small row through the left, middle and right tap."""
    upsampled = F.interpolate(torch.eye(size)[None], scale_factor=scale, mode="linear")[0]
    return torch.cat([F.pad(upsampled, (1 - tap, tap - 1)) if tap != 1 else upsampled for tap in range(3)])


def conv_of_upsampled(x, weight, scale):
    batch, channels, height, width = x.shape
    out = len(weight)
    products = weight.permute(0, 2, 3, 1).reshape(out * 9, channels) @ x.flatten(2)
    rows = products.reshape(batch, out, 3, 3, height, width).permute(0, 1, 2, 4, 3, 5).reshape(-1, 3 * width)
    rows = (rows @ shifted_taps(width, scale)).reshape(batch * out, 3 * height, width * scale)
    return (shifted_taps(height, scale).T @ rows).reshape(batch, out, height * scale, width * scale)


class Projector(nn.Module):
    def __init__(self, embed, decoder, low_resolution):
        super().__init__()
        half = decoder // 2
        self.vis = nn.Sequential(
            nn.Upsample(scale_factor=4, mode="bilinear"), cbr(decoder, decoder, 3),
            nn.Upsample(scale_factor=4, mode="bilinear"), cbr(decoder, half, 3), nn.Conv2d(half, half, 1),
        )
        self.txt = nn.Linear(embed, half * 9 + 1)
        self.low_resolution = low_resolution

    def forward(self, x, state):
        if self.low_resolution:
            for part in (self.vis[1], self.vis[3]):
                x = part[2](part[1](conv_of_upsampled(x, part[0].weight, 4)))
            x = self.vis[4](x)
        else:
            x = self.vis(x)
        images, channels, height, width = x.shape
        prompts, kernel = len(state), self.txt(state)
        x = x.repeat_interleave(prompts // images, 0).reshape(1, prompts * channels, height, width)
        weight = kernel[:, :-1].reshape(prompts, channels, 3, 3)
        return F.conv2d(x, weight, kernel[:, -1], padding=1, groups=prompts).reshape(prompts, 1, height, width)


class Network(nn.Module):
    def __init__(self, t, low_resolution):
        super().__init__()
        self.backbone = Backbone(t)
        embed = t["backbone.visual.attnpool.c_proj.weight"].shape[0]
        width, decoder = t["backbone.visual.conv3.weight"].shape[0], t["neck_ad.aggr.0.weight"].shape[0]
        self.neck_ad = Neck(width * 8, width * 16, embed, decoder)
        self.proj, self.proj_ad = (Projector(embed, decoder, low_resolution) for _ in range(2))

    def forward(self, image, tokens, fixed_masks):
        state = self.backbone.encode(tokens)
        queries = self.neck_ad.queries(*self.backbone.visual(image))
        masks = self.neck_ad.masks(queries)
        if fixed_masks:
            masks = [mask.detach() for mask in masks]
        causal, confounders = self.neck_ad(queries, masks)
        return self.proj(causal, state), self.proj_ad(confounders, state)


def loss_of(logits, masks):
    p, y = torch.sigmoid(logits).flatten(1), masks.flatten(1)
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    return 0.5 * F.binary_cross_entropy_with_logits(logits, masks) + 0.5 * dice.mean()


def made_batch(size, batch, prompts):
    area, p = size * size, torch.arange(size * size)
    grey = torch.stack([(p * 31 + image * 17 + p // 128 * 57) % 251 for image in range(batch)]).float() / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
    images = (grey.reshape(batch, 1, size, size) - mean) / std
    mask = ((p % size < size // 2) & (p < area // 2)).float().reshape(1, 1, size, size)
    tokens = torch.tensor([[49406, 1000 + q, 2000 + 3 * q, 49407] for q in range(batch * prompts)])
    return images, mask.repeat(batch * prompts, 1, 1, 1), tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    for name, value in {"size": 128, "batch": 8, "prompts": 3, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--low-resolution", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    tensors = read_checkpoint(args.checkpoint)
    network = Network(tensors, args.low_resolution)
    known = set(network.state_dict())
    missing = network.load_state_dict({k: v for k, v in tensors.items() if k in known}, strict=False).missing_keys
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{args.checkpoint} lacks {missing[0]} and {len(missing) - 1} more")
    network.train()
    images, masks, tokens = made_batch(args.size, args.batch, args.prompts)
    if args.channels_last:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    with torch.no_grad():
        logits, _ = network(images, tokens, True)
    print(f"logits: mean {logits.mean():.5f}, deviation {logits.std(correction=0):.5f}")

    phi = [p for name, p in network.named_parameters() if ".masker" in name]
    theta = [p for name, p in network.named_parameters() if ".masker" not in name]
    optimizers = [torch.optim.AdamW(part, 1e-3, weight_decay=1e-4, fused=True) for part in (theta, phi)]

    def forward(_):
        with torch.no_grad():
            network(images, tokens, False)

    def both(_):
        network.zero_grad()
        pred, pred_ad = network(images, tokens, False)
        (0.5 * (loss_of(pred, masks) + loss_of(pred_ad, masks))).backward()

    def game(step):
        for parameter in phi:
            parameter.requires_grad_(False)
        network.zero_grad()
        pred, pred_ad = network(images, tokens, True)
        (0.5 * (loss_of(pred, masks) + loss_of(pred_ad, masks))).backward()
        nn.utils.clip_grad_norm_(theta, 1.0)
        optimizers[0].step()
        for parameter in phi:
            parameter.requires_grad_(True)
        if step % 2 == 0:
            for parameter in theta:
                parameter.requires_grad_(False)
            network.zero_grad()
            pred, pred_ad = network(images, tokens, False)
            (0.5 * (loss_of(pred, masks) - loss_of(pred_ad, masks).clamp(max=0.7))).backward()
            nn.utils.clip_grad_norm_(phi, 1.0)
            optimizers[1].step()
            for parameter in theta:
                parameter.requires_grad_(True)

    for name, step in {"forward": forward, "forward and backward": both, "min-max, optimiser too": game}.items():
        step(0)
        began, seconds = time.perf_counter(), []
        while time.perf_counter() - began < args.seconds or len(seconds) < 3:
            started = time.perf_counter()
            step(0)
            step(1)
            seconds.append((time.perf_counter() - started) / 2)
        median = statistics.median(seconds)
        print(f"{name:24} {args.batch / median:8.2f} images/s {median * 1e3:8.1f} ms a batch")


if __name__ == "__main__":
    main()
