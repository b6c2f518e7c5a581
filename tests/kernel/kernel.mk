# SPDX-License-Identifier: MIT
# What was built, on other kernels.  Part of the Makefile.
#
#   make check-kernel       the tests, the demo and the scenarios on each of KERNELS, in qemu: some 20 minutes each
#   make kernel-deps        installs what that needs

KERNELS ?= 6.1 6.12 newest
KERNEL_PACKAGES := qemu-system-x86 busybox-static cpio xz-utils e2fsprogs

.PHONY: check-kernel kernel-deps
kernel-deps:
	$(call need,command -v qemu-system-x86_64,$(KERNEL_PACKAGES))
check-kernel: $(EXAMPLES) $(TESTS) $(SCENARIOS) $(SCENARIOS_REAL)
	@failed=; \
	for kernel in $(KERNELS); do BUILD='$(BUILD)' tests/kernel/run "$$kernel" || failed="$$failed $$kernel"; done; \
	if [ "$$failed" ]; then echo "make check-kernel: failed:$$failed"; exit 1; fi
