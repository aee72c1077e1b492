"""A captioner: a convolutional encoder looks, a recurrent decoder with attention tells, word by word."""

import torch
from torch import nn

from p1ch2.classifier import MEAN, STD

PAD, START, END = "<pad>", "<start>", "<end>"
WORDS = (
    PAD, START, END, "a", "at", "beside", "big", "bird", "birds", "blue", "brown", "butterflies", "butterfly",
    "cat", "cats", "desert", "elephant", "elephants", "fish", "green", "grey", "horse", "horses", "house",
    "in", "left", "meadow", "night", "of", "purple", "rabbit", "rabbits", "red", "small", "snow", "striped",
    "the", "three", "tree", "turtle", "turtles", "two", "white", "yellow",
)  # fmt: skip
NUMBER = {word: number for number, word in enumerate(WORDS)}
LONGEST = 14  # words of the longest sentence, its end included


def encode_sentence(sentence):
    """The numbers of a sentence's words, between start and end, padded: (LONGEST + 1,) int64.

    Raises `KeyError` for a word that the captioner does not know.
    """
    numbers = [NUMBER[word] for word in (START, *sentence.split(), END)]
    return torch.tensor(numbers + [NUMBER[PAD]] * (LONGEST + 1 - len(numbers)))


def decode_sentence(numbers):
    """The sentence that word numbers stand for, up to its end."""
    words = [WORDS[int(number)] for number in numbers]
    return " ".join(words[: words.index(END)] if END in words else words)


class Captioner(nn.Module):
    """Sentences for pictures of shape (N, 3, 64, 96), as in Xu et al. (2015): look, attend, tell.

    The encoder turns a picture into 4 x 6 cells of `width` numbers. Before each word, the decoder weighs
    the cells (the weights sum to 1) and reads their weighted mean together with the word before.
    """

    def __init__(self, width=96, hidden=128, embedding=48):
        super().__init__()
        layers, channels = [], 3
        for size in (width // 4, width // 2, width, width):
            layers += [
                nn.Conv2d(channels, size, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(size),
                nn.ReLU(inplace=True),
            ]
            channels = size
        self.encoder = nn.Sequential(*layers)  # (N, width, 4, 6)
        self.position = nn.Parameter(torch.zeros(24, width))  # lets a cell say where it is
        self.embedding = nn.Embedding(len(WORDS), embedding)
        self.begin = nn.Linear(width, hidden)
        self.memory = nn.GRUCell(embedding + width, hidden)
        self.key = nn.Linear(width, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.importance = nn.Linear(hidden, 1)
        self.word = nn.Linear(hidden + width, len(WORDS))

    def look(self, pictures):
        """(cells (N, 24, width), the decoder's first memory (N, hidden))."""
        cells = self.encoder(pictures).flatten(2).transpose(1, 2) + self.position
        return cells, torch.tanh(self.begin(cells.mean(1)))

    def tell(self, word, memory, cells, keys):
        """One step: the word before (N,) -> scores for the next (N, words), memory, weights (N, 24)."""
        score = self.importance(torch.tanh(keys + self.query(memory)[:, None])).squeeze(2)  # (N, 24)
        weights = score.softmax(1)
        seen = (weights[:, None] @ cells).squeeze(1)  # (N, width)
        memory = self.memory(torch.cat([self.embedding(word), seen], 1), memory)
        return self.word(torch.cat([memory, seen], 1)), memory, weights

    def forward(self, pictures, sentences):
        """Training: scores (N, LONGEST, words) for each word of `sentences` (N, LONGEST + 1) but the first.

        Each step is given the true word before ("teacher forcing").
        """
        cells, memory = self.look(pictures)
        keys = self.key(cells)
        scores = []
        for step in range(sentences.shape[1] - 1):
            score, memory, _ = self.tell(sentences[:, step], memory, cells, keys)
            scores.append(score)
        return torch.stack(scores, 1)

    @torch.inference_mode()
    def describe(self, pictures):
        """(sentences, attention (N, LONGEST, 4, 6)) for prepared pictures (N, 3, 64, 96).

        The most probable word is taken at each step and handed back as the word before.
        """
        cells, memory = self.look(pictures)
        keys = self.key(cells)
        word = torch.full((len(pictures),), NUMBER[START], device=pictures.device)
        words, attention = [], []
        for _ in range(LONGEST):
            score, memory, weights = self.tell(word, memory, cells, keys)
            word = score.argmax(1)
            words.append(word)
            attention.append(weights.view(-1, 4, 6))
        told = torch.stack(words, 1).cpu()
        return [decode_sentence(row) for row in told], torch.stack(attention, 1)


def prepare_scenes(pictures):
    """uint8 scenes (N, 64, 96, 3) -> the float batch (N, 3, 64, 96) that `Captioner` expects."""
    return (torch.as_tensor(pictures).movedim(-1, 1).float() / 255 - MEAN) / STD
