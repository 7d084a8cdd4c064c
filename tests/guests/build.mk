# The tiny guest, 32-bit and freestanding: a kernel, so none of the flags
# that programs are built with. objcopy makes it a 64-bit ELF file, as
# Debian's vmlinux is one whose PVH entry is 32-bit code.
GUESTS	= $(B)/tests/guests/tiny
TINY_FLAGS = -m32 -march=i686 -Os -std=gnu11 $(filter-out -Wpedantic \
	  -Wconversion,$(WARN)) -ffreestanding -fno-builtin -fno-pic \
	  -fno-stack-protector -fno-asynchronous-unwind-tables \
	  -fcf-protection=none -mgeneral-regs-only -nostdlib -static

$(B)/tests/guests/tiny: tests/guests/tiny.c tests/guests/tiny.lds
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(TINY_FLAGS) -o $@.elf32 $< -Wl,-T,tests/guests/tiny.lds \
		-Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
	@objcopy -I elf32-i386 -O elf64-x86-64 $@.elf32 $@
