// Tensors in files without a header: float32, in this machine's byte order, C order. NumPy's tofile and fromfile.
#pragma once
#include <ATen/ATen.h>

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

// The file as (N, *sample): N follows from its length.
inline at::Tensor read_floats(const std::string& path, std::vector<int64_t> sample) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error("cannot open " + path);
  const int64_t bytes = file.tellg();
  int64_t sample_bytes = sizeof(float);
  for (auto edge : sample) sample_bytes *= edge;
  if (bytes == 0 || bytes % sample_bytes)
    throw std::runtime_error(path + " does not hold whole samples of " + std::to_string(sample_bytes) + " bytes");
  sample.insert(sample.begin(), bytes / sample_bytes);
  auto tensor = at::empty(sample, at::kFloat);
  file.seekg(0);
  file.read(static_cast<char*>(tensor.data_ptr()), bytes);
  if (!file) throw std::runtime_error("cannot read " + path);
  return tensor;
}

inline void write_floats(const std::string& path, at::Tensor tensor) {
  tensor = tensor.contiguous().to(at::kFloat);
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(tensor.data_ptr()), tensor.numel() * sizeof(float));
  if (!file) throw std::runtime_error("cannot write " + path);
}
