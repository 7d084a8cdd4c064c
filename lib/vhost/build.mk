LIB_SRCS += lib/vhost/message.c
LIB_SRCS += lib/vhost/frontend.c lib/vhost/frontend_connection.c \
	lib/vhost/frontend_handshake.c lib/vhost/frontend_message.c \
	lib/vhost/frontend_queue.c lib/vhost/frontend_request.c
