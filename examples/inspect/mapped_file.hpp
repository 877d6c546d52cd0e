/// \file
/// A file as memory, however large it is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace inspect {

/// A file that is mapped as long as this object lives.
class mapped_file {
public:
    /// \throw bad_input if it cannot be read or is empty.
    explicit mapped_file(std::string const& path);
    mapped_file(mapped_file&& other) noexcept;
    mapped_file& operator=(mapped_file&&) = delete;
    ~mapped_file();

    /// All bytes.
    [[nodiscard]] std::string_view bytes() const { return {data_, size_}; }

private:
    char const* data_{};
    std::size_t size_{};
};

} // namespace inspect
