LIB_SRCS += lib/vhost/message.c
LIB_SRCS += lib/vhost/frontend_message.c
