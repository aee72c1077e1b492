// Pictures in the simplest file there is, PPM: a short header, then red, green, blue, byte by byte. It needs
// no library; Pillow writes and reads it, and so does nearly every picture program.
#pragma once
#include <ATen/ATen.h>

#include <fstream>
#include <stdexcept>
#include <string>

inline at::Tensor read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::string kind;
  int64_t width = 0, height = 0, most = 0;
  file >> kind >> width >> height >> most;
  if (kind != "P6" || most != 255 || width < 1 || height < 1 || width > 8192 || height > 8192)
    throw std::runtime_error(path + " is no binary PPM with 8 bits a color and at most 8192 pixels an edge");
  file.get();  // one white space ends the header
  auto picture = at::empty({height, width, 3}, at::kByte);
  if (!file.read(static_cast<char*>(picture.data_ptr()), picture.numel()))
    throw std::runtime_error(path + " ends too early");
  return picture;  // (H, W, 3)
}

inline void write_ppm(const std::string& path, at::Tensor picture) {
  picture = picture.contiguous();
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << picture.size(1) << " " << picture.size(0) << "\n255\n";
  file.write(static_cast<const char*>(picture.data_ptr()), picture.numel());
  if (!file) throw std::runtime_error("cannot write " + path);
}

// (H, W, 3) bytes -> (1, 3, H, W) floats from -1 to 1, edges cut to multiples of 4
inline at::Tensor as_input(at::Tensor picture) {
  picture = picture.slice(0, 0, picture.size(0) / 4 * 4).slice(1, 0, picture.size(1) / 4 * 4);
  return picture.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat) / 127.5 - 1;
}

// (1, 3, H, W) floats from -1 to 1 -> (H, W, 3) bytes
inline at::Tensor as_bytes(at::Tensor output) {
  return ((output[0] + 1) * 127.5).round().clamp(0, 255).to(at::kByte).permute({1, 2, 0});
}
