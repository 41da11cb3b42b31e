// SPDX-License-Identifier: Apache-2.0
// Files as checked byte ranges. Reads go through pread, never through a mapping: a file that shrinks under us
// is an Error, not a SIGBUS.
#pragma once

#include <cstdint>
#include <string>

namespace hedgerow {

// A regular file open for reading. Move-only.
class File {
 public:
  explicit File(const std::string& path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }  // when it was opened
  void read(uint64_t offset, void* to, size_t bytes) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
};

bool is_file(const std::string& path);
bool is_folder(const std::string& path);

// The whole file; Error when it is larger than `limit`.
std::string read_file(const std::string& path, uint64_t limit);

}  // namespace hedgerow
