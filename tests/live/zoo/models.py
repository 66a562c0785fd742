"""Tiny base models, the same weights each time, and what they answer."""

from __future__ import annotations

from typing import Any

import torch


class Net(torch.nn.Module):
    """An embedding, a convolution, linear layers in a `Sequential`, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.body = torch.nn.Sequential(torch.nn.Linear(32, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
        self.head = torch.nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        image = self.conv(self.embed(ids).unsqueeze(1))
        return self.head(self.body(image.permute(0, 2, 1, 3).flatten(2)))


class Convolutions(torch.nn.Module):
    """Convolutions over one and three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.line = torch.nn.Conv1d(8, 4, 3, padding=1)
        self.space = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        line = self.line(self.embed(ids).transpose(1, 2))
        space = self.space(line.reshape(line.shape[0], 1, 2, 2, -1))
        return self.head(space.permute(0, 4, 1, 2, 3).flatten(2))


class Attention(torch.nn.Module):
    """PyTorch's own multi-head attention, which no layer of PEFT's calls as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(ids)
        return self.head(self.attention(hidden, hidden, hidden, need_weights=False)[0])


class Mixture(torch.nn.Module):
    """Experts whose weights are one bare parameter, as in a mixture of experts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.experts = Experts()
        self.head = torch.nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.experts(self.embed(ids)))


class Experts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = torch.nn.Parameter(torch.randn(2, 8, 6))
        self.down = torch.nn.Parameter(torch.randn(2, 6, 8))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bsh,ehf,efo->bso", hidden, self.up, self.down)


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def convolutions() -> torch.nn.Module:
    torch.manual_seed(0)
    return Convolutions().eval()


def attention() -> torch.nn.Module:
    torch.manual_seed(0)
    return Attention().eval()


def mixture() -> torch.nn.Module:
    torch.manual_seed(0)
    return Mixture().eval()


def llama(*, tie: bool = False, **options: Any) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 32,
        "num_key_value_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=tie, **sizes, **options)).eval()
    if tie:
        assert model.lm_head.weight is model.model.embed_tokens.weight
    return model


def tied_llama() -> torch.nn.Module:
    return llama(tie=True)


def llama_with_biases() -> torch.nn.Module:
    return llama(attention_bias=True)


def output(model: torch.nn.Module, **inputs: Any) -> torch.Tensor:
    """What a model answers to the same three tokens; further arguments are passed on."""
    with torch.no_grad():
        result = model(torch.tensor([[1, 2, 3]]), **inputs)
    return result if isinstance(result, torch.Tensor) else result.logits
