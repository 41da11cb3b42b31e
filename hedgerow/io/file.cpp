// SPDX-License-Identifier: Apache-2.0
// Regular files only: a pipe or a device could block for ever or never end.
#include "hedgerow/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "hedgerow/core/error.h"

namespace hedgerow {

bool is_file(const std::string& path) {
  struct stat s;
  return ::stat(path.c_str(), &s) == 0 && S_ISREG(s.st_mode);
}

bool is_folder(const std::string& path) {
  struct stat s;
  return ::stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

File::File(const std::string& path) : path_(path) {
  struct stat s;
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) throw Error(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  if (::fstat(fd_, &s) != 0 || !S_ISREG(s.st_mode)) {
    ::close(fd_);
    throw Error(path + ": not a regular file");
  }
  bytes_ = static_cast<uint64_t>(s.st_size);
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void File::read(uint64_t offset, void* to, size_t bytes) const {
  if (offset > bytes_ || bytes > bytes_ - offset)
    throw Error(fmt::format("{}: wanted {} bytes at {}, but the file has {}", path_, bytes, offset, bytes_));
  char* out = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd_, out, std::min<size_t>(bytes, 1u << 30), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(fmt::format("{}: reading failed: {}", path_, std::strerror(errno)));
    if (n == 0) throw Error(fmt::format("{}: the file became shorter while it was read", path_));
    out += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

std::string read_file(const std::string& path, uint64_t limit) {
  const File file(path);
  if (file.bytes() > limit)
    throw Error(fmt::format("{}: {} bytes, more than the {} allowed", path, file.bytes(), limit));
  std::string text(file.bytes(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

}  // namespace hedgerow
