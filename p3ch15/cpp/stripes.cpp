// Chapter 2's generator, traced in Python, paints stripes in C++ (chapter 15, "Running JITed models from C++").
//
//   stripes generator-traced.pt horse.ppm zebra.ppm
//
// PPM is the simplest picture file there is: a short header, then red, green, blue, byte by byte. It needs
// no library; Pillow writes and reads it, and so does nearly every picture program.
#include <torch/script.h>

#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

torch::Tensor read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::string kind;
  int64_t width = 0, height = 0, most = 0;
  file >> kind >> width >> height >> most;
  if (kind != "P6" || most != 255 || width < 1 || height < 1 || width > 8192 || height > 8192)
    throw std::runtime_error(path + " is no binary PPM with 8 bits a color and at most 8192 pixels an edge");
  file.get();  // one white space ends the header
  auto picture = torch::empty({height, width, 3}, torch::kUInt8);
  if (!file.read(reinterpret_cast<char*>(picture.data_ptr()), picture.numel()))
    throw std::runtime_error(path + " ends too early");
  return picture;  // (H, W, 3)
}

void write_ppm(const std::string& path, torch::Tensor picture) {
  picture = picture.contiguous();
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << picture.size(1) << " " << picture.size(0) << "\n255\n";
  file.write(reinterpret_cast<const char*>(picture.data_ptr()), picture.numel());
  if (!file) throw std::runtime_error("cannot write " + path);
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: stripes MODEL.pt IN.ppm OUT.ppm");
  const c10::InferenceMode no_gradients;
  auto generator = torch::jit::load(argv[1], torch::kCPU);
  generator.eval();

  // (H, W, 3) bytes -> (1, 3, H, W) floats from -1 to 1, edges cut to multiples of 4
  auto picture = read_ppm(argv[2]);
  picture = picture.slice(0, 0, picture.size(0) / 4 * 4).slice(1, 0, picture.size(1) / 4 * 4);
  auto input = picture.permute({2, 0, 1}).unsqueeze(0).to(torch::kFloat) / 127.5 - 1;

  auto output = generator.forward({input}).toTensor();

  auto bytes = ((output[0] + 1) * 127.5).round().clamp(0, 255).to(torch::kUInt8);
  write_ppm(argv[3], bytes.permute({1, 2, 0}));
  std::cout << "painted " << output.size(3) << " x " << output.size(2) << " pixels\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 2;
}
