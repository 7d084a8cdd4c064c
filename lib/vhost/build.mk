LIB_SRCS += lib/vhost/message.c
LIB_SRCS += lib/vhost/frontend_message.c
LIB_SRCS += lib/vhost/frontend_handshake.c lib/vhost/frontend_request.c
LIB_SRCS += lib/vhost/frontend_queue.c
