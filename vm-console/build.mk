PROGS += vm-console
vm-console_SRCS := vm-console/main.c vm-console/attach.c vm-console/console.c \
	vm-console/control.c vm-console/escape.c vm-console/history.c \
	vm-console/log_file.c vm-console/serial.c vm-console/terminal.c \
	vm-console/viewer.c vm-console/virtio_console.c
