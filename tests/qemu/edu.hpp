// QEMU's educational PCI device: a DMA engine with 4 KiB of memory of its own, which only DMA reaches.
#pragma once

#include "machine.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace judge {

class edu {
public:
    static constexpr std::uint64_t buffer_bytes = 4088; // QEMU ends if DMA touches the last byte of its 4 KiB

    // The option that puts one at a PCI slot of bus 0.
    [[nodiscard]] static std::vector<std::string> option(std::uint32_t slot) {
        return {"-device", "edu,dma_mask=0xffffffffffffffff,addr=" + hex(slot)};
    }

    // `index` tells the devices of a machine apart: each has a BAR of its own.
    edu(machine& m, std::uint32_t slot, std::uint32_t index = 0)
        : machine_{&m}, devfn_{slot << 3}, registers_{m.of().pci_window + (std::uint64_t{index} << 20)} {
        if (m.configuration(devfn_, 0) != 0x11e8'1234) throw broken{"there is no edu device in slot " + std::to_string(slot)};
        m.configure(devfn_, 0x10, static_cast<std::uint32_t>(registers_));
        m.configure(devfn_, 4, 6); // memory, bus master
    }

    // Its requester id (StreamID).
    [[nodiscard]] std::uint16_t source() const { return static_cast<std::uint16_t>(devfn_); }

    // DMA read: `bytes` bytes from `iova` on go to offset `at` of the device's memory.
    void start_read(std::uint64_t iova, std::uint64_t at, std::uint64_t bytes) { start(iova, memory + at, bytes, 1); }
    // DMA write: `bytes` bytes from offset `at` of the device's memory go to `iova`.
    void start_write(std::uint64_t iova, std::uint64_t at, std::uint64_t bytes) { start(memory + at, iova, bytes, 3); }
    // Waits for the DMA that was started.
    void finish() {
        do {
            machine_->queue_time(200'000'000);
            machine_->queue_read64(registers_ + 0x98);
        } while ((machine_->exchange().back() & 1) != 0);
    }

    void read(std::uint64_t iova, std::uint64_t at, std::uint64_t bytes) {
        start_read(iova, at, bytes);
        finish();
    }
    void write(std::uint64_t iova, std::uint64_t at, std::uint64_t bytes) {
        start_write(iova, at, bytes);
        finish();
    }

private:
    static constexpr std::uint64_t memory = 0x40000; // where the device sees its own memory

    void start(std::uint64_t from, std::uint64_t to, std::uint64_t bytes, std::uint64_t command) {
        machine_->queue_write64(registers_ + 0x80, from);
        machine_->queue_write64(registers_ + 0x88, to);
        machine_->queue_write64(registers_ + 0x90, bytes);
        machine_->queue_write64(registers_ + 0x98, command);
    }

    machine* machine_;
    std::uint32_t devfn_;
    std::uint64_t registers_;
};

} // namespace judge
