"""Typical wrong answers to chapter 11's exercises."""

import torch

WRONG = {
    "11.1": [
        lambda nodules, others: others / (nodules + others),
        lambda nodules, others: 100 * (1 - nodules / others),
        lambda nodules, others: 99.75,
    ],
    "11.2": [
        lambda i, c: (i * c + c * c) * 27,
        lambda i, c: 2 * i * c * 27 + 2 * c,
        lambda i, c: (i * c + c * c) * 9 + 2 * c,
    ],
    "11.3": [
        lambda size: 1152,
        lambda size: 64 * size[0] * size[1] * size[2] // 16,
        lambda size: round(64 * size[0] * size[1] * size[2] / 16**3),
    ],
    "11.4": [
        lambda logits, target: torch.log_softmax(logits, 1)[torch.arange(len(target)), target],
        lambda logits, target: torch.nn.functional.cross_entropy(logits, target),
        lambda logits, target: (
            -(logits.exp() / logits.exp().sum(1, keepdim=True)).log()[torch.arange(len(target)), target]
        ),
    ],
    "11.5": [
        lambda means, sizes: sum(means) / len(means),
        lambda means, sizes: sum(m * n for m, n in zip(means, sizes)) / len(sizes),
    ],
    "11.6": [
        lambda share, size: 1 - share * size,
        lambda share, size: share**size,
        lambda share, size: 1 - (1 - share) ** size,
    ],
}
