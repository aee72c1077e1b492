// Is there a nodule in these crops? In C++, with either file that Python wrote (chapter 15).
//
//   classify classification.pt2       crops.f32 logits.f32     an AOTInductor package: compiled code
//   classify classification-traced.pt crops.f32 logits.f32     TorchScript: a graph that is interpreted
//
// crops.f32 holds float32 (N, 1, 32, 48, 48) in HU, logits.f32 becomes float32 (N, 2).
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <algorithm>
#include <functional>
#include <iostream>

#include "files.h"

using Run = std::function<at::Tensor(at::Tensor)>;

Run open_model(const std::string& path) {
  if (path.ends_with(".pt2")) {
    auto package = std::make_shared<torch::inductor::AOTIModelPackageLoader>(path);
    return [package](at::Tensor crops) {
      std::vector<at::Tensor> inputs{crops};
      return package->run(inputs)[0];
    };
  }
  auto module = std::make_shared<torch::jit::Module>(torch::jit::load(path, torch::kCPU));
  module->eval();
  // LunaModel answers a tuple: logits, probabilities.
  return [module](at::Tensor crops) { return module->forward({crops}).toTuple()->elements()[0].toTensor(); };
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: classify MODEL.pt2|MODEL.pt CROPS.f32 LOGITS.f32");
  const c10::InferenceMode no_gradients;
  const auto model = open_model(argv[1]);
  const auto crops = read_floats(argv[2], {1, 32, 48, 48});

  std::vector<at::Tensor> logits;
  for (int64_t start = 0; start < crops.size(0); start += 2)  // two: the batch with the fastest convolutions
    logits.push_back(model(crops.slice(0, start, std::min(start + 2, crops.size(0)))).clone());

  const auto all = at::cat(logits);  // (N, 2)
  write_floats(argv[3], all);
  const auto nodules = (all.select(1, 1) > all.select(1, 0)).sum().item<int64_t>();
  std::cout << crops.size(0) << " crops, " << nodules << " more likely a nodule than not\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 2;
}
