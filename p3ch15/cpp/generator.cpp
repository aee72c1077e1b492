// Chapter 2's generator written in C++, with the weights that were trained in Python (chapter 15, "C++ from the
// start: the C++ API").
//
//   generator generator-traced.pt horse.ppm zebra.ppm
//
// Nothing is interpreted here: of the traced file only the weights are read, into layers of our own.
#include <torch/script.h>
#include <torch/torch.h>

#include <iostream>
#include <string>

#include "pictures.h"

using namespace torch::nn;

// Layers have no names here but their places, as in Python: the weights are found by them.
Sequential conv_block(int64_t dim) {
  return Sequential(
      ReflectionPad2d(1), Conv2d(Conv2dOptions(dim, dim, 3)), InstanceNorm2d(dim), ReLU(),
      ReflectionPad2d(1), Conv2d(Conv2dOptions(dim, dim, 3)), InstanceNorm2d(dim));
}

struct ResNetBlockImpl : Module {
  explicit ResNetBlockImpl(int64_t dim) : block(register_module("conv_block", conv_block(dim))) {}

  torch::Tensor forward(torch::Tensor x) {
    return x + block->forward(x);  // the skip connection
  }

  Sequential block;
};
TORCH_MODULE(ResNetBlock);

struct ResNetGeneratorImpl : Module {
  ResNetGeneratorImpl(int64_t ngf, int64_t n_blocks) {
    model->push_back(ReflectionPad2d(3));
    model->push_back(Conv2d(Conv2dOptions(3, ngf, 7)));
    model->push_back(InstanceNorm2d(ngf));
    model->push_back(ReLU());
    for (int64_t width : {ngf, 2 * ngf}) {  // each halves the edges
      model->push_back(Conv2d(Conv2dOptions(width, 2 * width, 3).stride(2).padding(1)));
      model->push_back(InstanceNorm2d(2 * width));
      model->push_back(ReLU());
    }
    for (int64_t block = 0; block < n_blocks; ++block) model->push_back(ResNetBlock(4 * ngf));
    for (int64_t width : {4 * ngf, 2 * ngf}) {  // each doubles them
      auto options = ConvTranspose2dOptions(width, width / 2, 3).stride(2).padding(1).output_padding(1);
      model->push_back(ConvTranspose2d(options));
      model->push_back(InstanceNorm2d(width / 2));
      model->push_back(ReLU());
    }
    model->push_back(ReflectionPad2d(3));
    model->push_back(Conv2d(Conv2dOptions(ngf, 3, 7)));
    model->push_back(Tanh());
    register_module("model", model);
  }

  torch::Tensor forward(torch::Tensor pictures) { return model->forward(pictures); }

  Sequential model;
};
TORCH_MODULE(ResNetGenerator);

// How large a network is, is read from its weights.
ResNetGenerator open_generator(const std::string& path) {
  const auto traced = torch::jit::load(path, torch::kCPU);
  int64_t ngf = 0, n_blocks = 0;
  for (const auto& parameter : traced.named_parameters()) {
    if (parameter.name == "model.1.weight") ngf = parameter.value.size(0);
    n_blocks += parameter.name.ends_with("conv_block.1.weight");
  }
  if (ngf == 0) throw std::runtime_error(path + " holds no generator");
  ResNetGenerator generator(ngf, n_blocks);
  torch::load(generator, path);
  generator->eval();
  return generator;
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: generator MODEL.pt IN.ppm OUT.ppm");
  const c10::InferenceMode no_gradients;
  auto generator = open_generator(argv[1]);
  const auto output = generator(as_input(read_ppm(argv[2])));
  write_ppm(argv[3], as_bytes(output));
  int64_t count = 0;
  for (const auto& parameter : generator->parameters()) count += parameter.numel();
  std::cout << count << " weights read, painted " << output.size(3) << " x " << output.size(2) << " pixels\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 2;
}
