// A network defined and trained without any Python (chapter 15, "C++ from the start: the C++ API").
//
//   train slices.f32 labels.f32 network.pt [epochs]
//
// slices.f32 holds float32 (N, 3, 48, 48): three neighbouring slices of each crop, in HU; labels.f32 one
// number per crop, 1 for a nodule. The last quarter is held out. The weights are written to network.pt.
#include <torch/torch.h>

#include <iostream>
#include <string>

#include "files.h"

// In Python this class would be shorter, but its parts have the same names and do the same.
struct SliceNetImpl : torch::nn::Module {
  explicit SliceNetImpl(int64_t width = 8)
      : norm(register_module("norm", torch::nn::BatchNorm2d(3))),
        conv1(register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, width, 3).padding(1)))),
        conv2(register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(width, 2 * width, 3).padding(1)))),
        conv3(register_module("conv3", torch::nn::Conv2d(torch::nn::Conv2dOptions(2 * width, 4 * width, 3).padding(1)))),
        head(register_module("head", torch::nn::Linear(4 * width * 6 * 6, 2))) {}

  torch::Tensor forward(torch::Tensor x) {
    x = norm(x);                                       // (N, 3, 48, 48)
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);   // (N, 8, 24, 24)
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);   // (N, 16, 12, 12)
    x = torch::max_pool2d(torch::relu(conv3(x)), 2);   // (N, 32, 6, 6)
    return head(x.flatten(1));                         // (N, 2)
  }

  torch::nn::BatchNorm2d norm;
  torch::nn::Conv2d conv1, conv2, conv3;
  torch::nn::Linear head;
};
TORCH_MODULE(SliceNet);  // SliceNet: a shared pointer to a SliceNetImpl, copied freely like a Python object

double accuracy(SliceNet& network, const torch::Tensor& slices, const torch::Tensor& labels) {
  torch::NoGradGuard no_gradients;
  network->eval();
  return (network(slices).argmax(1) == labels).to(torch::kFloat).mean().item<double>();
}

int main(int argc, char** argv) try {
  if (argc < 4 || argc > 5) throw std::runtime_error("usage: train SLICES.f32 LABELS.f32 NETWORK.pt [EPOCHS]");
  const int epochs = argc == 5 ? std::stoi(argv[4]) : 10;
  torch::manual_seed(0);
  const auto slices = read_floats(argv[1], {3, 48, 48});
  const auto labels = read_floats(argv[2], {}).to(torch::kLong);
  if (labels.size(0) != slices.size(0)) throw std::runtime_error("as many labels as slices, please");
  const int64_t count = slices.size(0), kept = count - count / 4;

  SliceNet network;
  torch::optim::Adam optimizer(network->parameters(), torch::optim::AdamOptions(2e-3));
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    network->train();
    double total = 0;
    const auto order = torch::randperm(kept);
    for (const auto& batch : order.split(16)) {
      optimizer.zero_grad();
      auto input = slices.index_select(0, batch);
      if (torch::rand({1}).item<float>() < 0.5) input = input.flip({3});  // a nodule has no left and right
      const auto loss = torch::nn::functional::cross_entropy(network(input), labels.index_select(0, batch));
      loss.backward();
      optimizer.step();
      total += loss.item<double>() * batch.size(0);
    }
    std::cout << "epoch " << epoch << "  loss " << total / kept << "\n";
  }
  std::cout << "training accuracy " << accuracy(network, slices.slice(0, 0, kept), labels.slice(0, 0, kept)) << "\n";
  std::cout << "held-out accuracy " << accuracy(network, slices.slice(0, kept), labels.slice(0, kept)) << "\n";
  torch::save(network, argv[3]);
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 2;
}
