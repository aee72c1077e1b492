"""A network that looks closer (chapter 14, "Competition results and research papers").

Chapter 11's network sees 48 pixels of the scan's own size. This one sees a smaller cube of always the same
millimetres, with twice the channels. Two networks that see different things err in different places (Dou et
al. 2017, "Multilevel contextual 3-D CNNs for false positive reduction in pulmonary nodule detection").
"""

from torch import nn

from p2ch11.model import LunaBlock

CLOSE_IRC = (16, 32, 32)  # voxels of `p2ch14.dsets.SPACING_IRC`: a cube of 20 x 22 x 22 mm


class CloseLookModel(nn.Module):
    """Is there a nodule in the middle of this cube?

    `forward` takes (N, 1, 16, 32, 32) float HU, scaled as `p2ch14.dsets.scaled_crop` does, and answers
    (logits, probabilities), both (N, 2), as `LunaModel` does.
    """

    def __init__(self, conv_channels=16, dropout=0.3):
        super().__init__()
        self.tail_batchnorm = nn.BatchNorm3d(1)
        self.block1 = LunaBlock(1, conv_channels)
        self.block2 = LunaBlock(conv_channels, conv_channels * 2)
        self.block3 = LunaBlock(conv_channels * 2, conv_channels * 4)
        self.dropout = nn.Dropout(dropout)
        self.head_linear = nn.Linear(conv_channels * 4 * 2 * 4 * 4, 2)
        self.head_softmax = nn.Softmax(dim=1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, input_batch):
        out = self.tail_batchnorm(input_batch)  # (N, 1, 16, 32, 32)
        out = self.block1(out)  # (N, 16, 8, 16, 16)
        out = self.block2(out)  # (N, 32, 4, 8, 8)
        out = self.block3(out)  # (N, 64, 2, 4, 4)
        logits = self.head_linear(self.dropout(out.flatten(1)))  # (N, 2048) -> (N, 2)
        return logits, self.head_softmax(logits.float())
