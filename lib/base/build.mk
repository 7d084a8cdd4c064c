LIB_SRCS += lib/base/base64.c lib/base/chain.c lib/base/clock.c \
	lib/base/control.c lib/base/control_line.c lib/base/error.c \
	lib/base/event.c lib/base/listener.c lib/base/log.c \
	lib/base/options.c lib/base/ready.c lib/base/server.c \
	lib/base/size.c lib/base/socket.c lib/base/text.c lib/base/utf8.c
