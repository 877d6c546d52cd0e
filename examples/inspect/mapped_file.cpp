#include "mapped_file.hpp"

#include "bad_input.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace inspect {

mapped_file::mapped_file(std::string const& path) {
    int const descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw bad_input{path + ": cannot be opened: " + std::strerror(errno)};
    struct stat status {};
    bool const known = ::fstat(descriptor, &status) == 0;
    bool const regular = known && S_ISREG(status.st_mode);
    void* data = MAP_FAILED;
    if (regular && status.st_size > 0) {
        size_ = static_cast<std::size_t>(status.st_size);
        data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    int const reason = errno;
    ::close(descriptor);
    if (known && !regular) throw bad_input{path + ": cannot be read: it is no regular file"};
    if (known && status.st_size == 0) throw bad_input{path + ": is empty"};
    if (data == MAP_FAILED) throw bad_input{path + ": cannot be read: " + std::strerror(reason)};
    data_ = static_cast<char const*>(data);
}

mapped_file::mapped_file(mapped_file&& other) noexcept
    : data_{std::exchange(other.data_, nullptr)}, size_{std::exchange(other.size_, 0)} {}

mapped_file::~mapped_file() {
    if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

} // namespace inspect
