"""Plain PyTorch loops of the same shapes, as one would write them, for comparison within one run.

decode WIDTH MLP LAYERS HEADS CODES PROMPT TOKENS ROWS THREADS TYPE: draws tokens with a cache; prints seconds a step (median).
sft WIDTH MLP LAYERS HEADS CODES VOCABULARY ROWS TOKENS IMAGE THREADS: trains on rows of TOKENS of which the last IMAGE are codes; prints seconds a step.
"""
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.weight


class Layer(nn.Module):
    def __init__(self, width, mlp, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(width, mlp, bias=False), nn.Linear(width, mlp, bias=False), nn.Linear(mlp, width, bias=False)

    def forward(self, x, cos, sin, cache=None, at=0):
        b, t, d = x.shape
        n = self.norm1(x)
        q, k, v = (f(n).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = (y * cos + torch.cat((-y[..., y.shape[-1] // 2:], y[..., : y.shape[-1] // 2]), -1) * sin for y in (q, k))
        if cache is not None:
            cache[0][:, :, at:at + t], cache[1][:, :, at:at + t] = k, v
            k, v = cache[0][:, :, :at + t], cache[1][:, :, :at + t]
        if hasattr(F, "scaled_dot_product_attention"):
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        else:
            scores = q @ k.transpose(2, 3) / (d // self.heads) ** 0.5
            if t > 1:
                scores = scores + torch.full((t, t), float("-inf"), dtype=scores.dtype).triu(1)
            mixed = torch.softmax(scores.float(), -1).to(x.dtype) @ v
        x = x + self.o(mixed.transpose(1, 2).reshape(b, t, d))
        n = self.norm2(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


class Decoder(nn.Module):
    def __init__(self, width, mlp, layers, heads, codes, vocabulary):
        super().__init__()
        self.head_width = width // heads
        self.embed, self.code = nn.Embedding(vocabulary, width), nn.Embedding(codes, 8)
        self.align1, self.align2 = nn.Linear(8, width), nn.Linear(width, width)
        self.layers = nn.ModuleList(Layer(width, mlp, heads) for _ in range(layers))
        self.norm, self.head1, self.head2, self.text = Norm(width), nn.Linear(width, width), nn.Linear(width, codes), nn.Linear(width, vocabulary, bias=False)

    def codes(self, ids):
        return self.align2(F.gelu(self.align1(self.code(ids))))

    def forward(self, x, caches=None, at=0):
        angles = torch.arange(at, at + x.shape[1]).float()[:, None] / 10000 ** (torch.arange(0, self.head_width, 2).float() / self.head_width)
        cos, sin = (torch.cat((f, f), -1).to(x.dtype) for f in (angles.cos(), angles.sin()))
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, caches[i] if caches else None, at)
        return self.norm(x)

    def image(self, hidden):
        return self.head2(F.gelu(self.head1(hidden)))


def decode(width, mlp, layers, heads, codes, prompt, tokens, rows, threads, kind):
    torch.set_num_threads(threads)
    kind = getattr(torch, kind)
    torch.set_default_dtype(kind)
    nn.Linear.reset_parameters = nn.Embedding.reset_parameters = lambda self: [nn.init.constant_(p, 0.001) for p in self.parameters()]  # any will do
    model = Decoder(width, mlp, layers, heads, codes, 1000)
    caches = [torch.zeros(2, rows, heads, prompt + tokens, width // heads) for _ in range(layers)]
    times = []
    with torch.no_grad():
        hidden = model(model.embed(torch.randint(0, 1000, (rows, prompt))), caches)[:, -1:]
        for step in range(tokens):
            start = time.perf_counter()
            drawn = torch.multinomial(torch.softmax(model.image(hidden)[:, -1].float(), -1), 1)
            hidden = model(model.codes(drawn), caches, prompt + step)
            times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def sft(width, mlp, layers, heads, codes, vocabulary, rows, tokens, image, threads):
    torch.set_num_threads(threads)
    model = Decoder(width, mlp, layers, heads, codes, vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    texts, drawn = torch.randint(0, vocabulary, (rows, tokens - image)), torch.randint(0, codes, (rows, image))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        hidden = model(torch.cat((model.embed(texts), model.codes(drawn)), 1))
        text = F.cross_entropy(model.text(hidden[:, :tokens - image - 1]).flatten(0, 1), texts[:, 1:].flatten(), reduction="sum")
        picture = F.cross_entropy(model.image(hidden[:, tokens - image - 1:-1]).flatten(0, 1), drawn.flatten(), reduction="sum")
        optimizer.zero_grad(set_to_none=True)
        ((text + picture) / (rows * (tokens - 1))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[5:])


if __name__ == "__main__":
    seconds = {"decode": decode, "sft": sft}[sys.argv[1]](*(int(value) if value.isdigit() else value for value in sys.argv[2:]))
    print(torch.__version__, f"{seconds:.6f}")
