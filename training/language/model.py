# SPDX-License-Identifier: Apache-2.0
# A plain Llama with Hugging Face's parameter names: RMS norm, rotary embedding in halves, grouped keys and values, gated
# SiLU, the output head tied to the embedding.
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Shape:
    vocab: int = 1536
    dim: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    hidden: int = 384
    context: int = 1024
    theta: float = 10000.0
    eps: float = 1e-5

    def config(self):
        """Hugging Face's config.json of it, without the tokens' part."""
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": self.vocab, "hidden_size": self.dim,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "head_dim": self.dim // self.heads, "intermediate_size": self.hidden, "hidden_act": "silu",
            "max_position_embeddings": self.context, "rope_theta": self.theta, "rope_scaling": None, "rms_norm_eps": self.eps,
            "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0,
            "initializer_range": 0.02, "pretraining_tp": 1, "use_cache": True}

    def plain(self):
        return asdict(self)


TARGET = Shape()
DRAFT = Shape(dim=64, layers=2, heads=2, kv_heads=1, hidden=256)


class RmsNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        return (self.weight * wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def turned(x, cos, sin):
    """Rotary embedding of [batch, heads, rows, head_dim]: the first half of the channels is paired with the second."""
    one, two = x.chunk(2, -1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads, self.width = s.heads, s.kv_heads, s.dim // s.heads
        self.q_proj = nn.Linear(s.dim, s.dim, bias=False)
        self.k_proj = nn.Linear(s.dim, s.kv_heads * self.width, bias=False)
        self.v_proj = nn.Linear(s.dim, s.kv_heads * self.width, bias=False)
        self.o_proj = nn.Linear(s.dim, s.dim, bias=False)

    def forward(self, x, cos, sin, visible, cache):
        batch, rows, dim = x.shape
        q = turned(self.q_proj(x).view(batch, rows, self.heads, self.width).transpose(1, 2), cos, sin)
        k = turned(self.k_proj(x).view(batch, rows, self.kv_heads, self.width).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, rows, self.kv_heads, self.width).transpose(1, 2)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=visible)
        return self.o_proj(out.transpose(1, 2).reshape(batch, rows, dim))


class Mlp(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = nn.Linear(s.dim, s.hidden, bias=False)
        self.up_proj = nn.Linear(s.dim, s.hidden, bias=False)
        self.down_proj = nn.Linear(s.hidden, s.dim, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input_layernorm, self.self_attn = RmsNorm(s.dim, s.eps), Attention(s)
        self.post_attention_layernorm, self.mlp = RmsNorm(s.dim, s.eps), Mlp(s)

    def forward(self, x, cos, sin, visible, cache):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, visible, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.dim)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RmsNorm(shape.dim, shape.eps)
        width = shape.dim // shape.heads
        rate = 1.0 / shape.theta ** (torch.arange(0, width, 2).double() / width)
        angle = torch.arange(shape.context).double()[:, None] * rate
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else module.weight.shape[1] ** -0.5 / 2)

    def forward(self, tokens, visible, first=0, caches=None):
        """Logits of every row. `visible` [batch, 1, rows, keys] is what each row sees; `first` the place of the first row;
        `caches` one list per layer, empty at first."""
        x = self.embed_tokens(tokens)
        cos, sin = (t[first:first + tokens.shape[1]] for t in (self.cos, self.sin))
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, visible, caches[i] if caches is not None else None)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def packed_visible(owner):
    """Causal, within the conversation of each token; [batch, 1, rows, rows]. A padding row sees padding."""
    rows = owner.shape[1]
    causal = torch.ones(rows, rows, dtype=torch.bool, device=owner.device).tril()
    return ((owner[:, :, None] == owner[:, None, :]) & causal)[:, None]


@torch.no_grad()
def generate(model, prompts, most, ends):
    """Greedy answers to a batch of prompts (lists of tokens), padded at their left; each ends with one of `ends`, or is cut."""
    device = model.embed_tokens.weight.device
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    real = torch.tensor([[False] * (longest - len(p)) + [True] * len(p) for p in prompts], device=device)
    visible = (real[:, None, :] & torch.ones(longest, longest, dtype=torch.bool, device=device).tril())
    visible = (visible | torch.eye(longest, dtype=torch.bool, device=device))[:, None]
    caches = [[] for _ in model.layers]
    answers, done, first = [[] for _ in prompts], [False] * len(prompts), 0
    for _ in range(min(most, model.shape.context - longest)):
        best = model(tokens, visible, first, caches)[:, -1].argmax(-1)
        for i, token in enumerate(best.tolist()):
            if not done[i]:
                answers[i].append(token)
                done[i] = token in ends
        if all(done):
            break
        first += tokens.shape[1]
        tokens = best[:, None]
        real = torch.cat([real, torch.ones_like(real[:, :1])], 1)
        visible = real[:, None, None, :]
    return answers
