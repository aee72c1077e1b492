// Chapter 2's generator, traced in Python, paints stripes in C++ (chapter 15, "Running JITed models from C++").
//
//   stripes generator-traced.pt horse.ppm zebra.ppm
#include <torch/script.h>

#include <iostream>

#include "pictures.h"

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: stripes MODEL.pt IN.ppm OUT.ppm");
  const c10::InferenceMode no_gradients;
  auto generator = torch::jit::load(argv[1], torch::kCPU);
  generator.eval();
  const auto output = generator.forward({as_input(read_ppm(argv[2]))}).toTensor();
  write_ppm(argv[3], as_bytes(output));
  std::cout << "painted " << output.size(3) << " x " << output.size(2) << " pixels\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 2;
}
