PROGS += vm-net
vm-net_SRCS := vm-net/main.c vm-net/bridge.c vm-net/checksum.c \
	vm-net/control.c vm-net/frame.c vm-net/mac_table.c vm-net/port_vde.c \
	vm-net/port_vhost.c vm-net/segment.c
vm-net_LIBS = $(VDE_LIBS)
frame_FUZZ_SRCS := vm-net/checksum.c vm-net/frame.c vm-net/segment.c
