LIB_SRCS += lib/vhost/backend.c lib/vhost/backend_device.c \
	lib/vhost/backend_memory.c lib/vhost/backend_queue.c \
	lib/vhost/backend_request.c lib/vhost/backend_ring.c \
	lib/vhost/inflight.c lib/vhost/inflight_packed.c \
	lib/vhost/inflight_split.c lib/vhost/message.c
LIB_SRCS += lib/vhost/frontend.c lib/vhost/frontend_connection.c \
	lib/vhost/frontend_handshake.c lib/vhost/frontend_message.c \
	lib/vhost/frontend_queue.c lib/vhost/frontend_request.c
