# SPDX-License-Identifier: MIT
# Other kernels, under emulation.  Part of the Makefile.
#
#   make check-kernel          the demo, the tests and the conformance on each of KERNELS, in about an hour each
#   make check-kernel-arm64    features, the demo and the tests on aarch64's 6.1
#   make kernel-deps           what these need: qemu, busybox, cpio, xz, mke2fs; for arm64 kernel-arm64-deps

# Suites of Debian's: 6.1, 6.12 and the newest.
KERNELS      ?= bookworm trixie trixie-backports
KERNEL_WORK  := build/kernel
ARM64_ROOT   := $(CURDIR)/$(KERNEL_WORK)/sysroot-arm64
ARM64_PKG    := $(ARM64_ROOT)/usr/lib/aarch64-linux-gnu/pkgconfig

KERNEL_PACKAGES       := qemu-system-x86 busybox-static cpio xz-utils e2fsprogs
KERNEL_ARM64_PACKAGES := qemu-system-arm busybox-static cpio xz-utils e2fsprogs gcc-aarch64-linux-gnu

has_packer       = PATH=$$PATH:/sbin:/usr/sbin; command -v busybox && command -v cpio && command -v xz && command -v mke2fs
has_kernel       = $(has_packer) && command -v qemu-system-x86_64
has_kernel_arm64 = $(has_packer) && command -v qemu-system-aarch64 && command -v aarch64-linux-gnu-gcc

.PHONY: kernel-deps kernel-arm64-deps check-kernel check-kernel-arm64 arm64-programs
kernel-deps:
	$(call need,$(has_kernel),$(KERNEL_PACKAGES))
kernel-arm64-deps:
	$(call need,$(has_kernel_arm64),$(KERNEL_ARM64_PACKAGES))

check-kernel:
	@+if ! { $(has_kernel); } >/dev/null 2>&1; then echo "kernel: skipped: no emulator here; make kernel-deps installs it"; exit 0; fi; \
	$(again) check-programs $(SCENARIOS_REAL) && BUILD='$(BUILD)' FILTER='$(FILTER)' tests/kernel/run $(KERNELS)

check-kernel-arm64:
	@+if ! { $(has_kernel_arm64); } >/dev/null 2>&1; then \
		echo "kernel: skipped: no emulator or compiler here; make kernel-arm64-deps installs them"; exit 0; fi; \
	{ [ -d $(ARM64_ROOT) ] || ARCH=arm64 tests/kernel/run --sysroot $(ARM64_ROOT); } && \
	PKG_CONFIG_LIBDIR=$(ARM64_PKG) PKG_CONFIG_SYSROOT_DIR=$(ARM64_ROOT) $(again) VARIANT=arm64 arm64-programs \
		CC='aarch64-linux-gnu-gcc --sysroot=$(ARM64_ROOT)' CXX='aarch64-linux-gnu-g++ --sysroot=$(ARM64_ROOT)' CFLAGS='$(CFLAGS_release)' && \
	BUILD=build/arm64 ARCH=arm64 SYSROOT=$(ARM64_ROOT) PARTS='$(or $(PARTS),features demo tests)' FILTER='$(FILTER)' \
		tests/kernel/run bookworm

arm64-programs: all $(TESTS)
