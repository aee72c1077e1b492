"""A tensor of eight-bit codes that behaves like one of floats (chapter 3, "Generalized tensors …").

It shows how little PyTorch asks of a generalized tensor: a shape, a dtype, and an answer to
`__torch_dispatch__`, through which every operation passes. torchao builds the quantized tensors of
today in the same way. Quantization itself: Jacob et al., 2018, arXiv:1712.05877, section 2.1.
"""

import torch
from torch.utils._pytree import tree_map


class QuantizedTensor(torch.Tensor):
    """`scale * (codes - zero_point)`, stored as `codes`, uint8 of the tensor's shape.

    Operations compute with the floats and give ordinary tensors; copies stay quantized.
    """

    @staticmethod
    def __new__(cls, codes, scale, zero_point):
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32, device=codes.device)

    def __init__(self, codes, scale, zero_point):
        self.codes, self.scale, self.zero_point = codes, scale, zero_point

    @classmethod
    def from_float(cls, values: torch.Tensor):
        """Quantize float32 `values` of any shape so that their range fills the 256 codes."""
        # The range always includes 0, so that zero (padding, ReLU) is exact.
        low, high = min(values.min().item(), 0.0), max(values.max().item(), 0.0)
        scale = (high - low) / 255 or 1.0
        zero_point = round(-low / scale)
        codes = torch.round(values / scale + zero_point).clamp(0, 255).to(torch.uint8)
        return cls(codes, scale, zero_point)

    def dequantize(self) -> torch.Tensor:
        """The float32 values that the codes stand for."""
        return (self.codes.float() - self.zero_point) * self.scale

    def __repr__(self):
        codes = self.codes.tolist()
        return f"QuantizedTensor({codes=}, scale={self.scale:.4g}, zero_point={self.zero_point})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        if operation in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            source = args[0]
            return cls(operation(source.codes), source.scale, source.zero_point)

        def plain(value):
            return value.dequantize() if isinstance(value, QuantizedTensor) else value

        return operation(*tree_map(plain, args), **tree_map(plain, kwargs or {}))
