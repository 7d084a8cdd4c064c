PROGS += vm-disk
vm-disk_SRCS := \
	vm-disk/config.c \
	vm-disk/control.c \
	vm-disk/disk.c \
	vm-disk/main.c \
	vm-disk/options.c \
	vm-disk/request.c \
	vm-disk/serve.c
vm-disk_LIBS = $(IMAGE_LIBS)
vm_disk_request_FUZZ_SRCS := vm-disk/request.c
