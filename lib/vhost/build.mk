LIB_SRCS += lib/vhost/message.c
