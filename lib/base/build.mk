LIB_SRCS += lib/base/error.c lib/base/event.c lib/base/listener.c \
	lib/base/log.c lib/base/options.c lib/base/ready.c lib/base/size.c \
	lib/base/socket.c
