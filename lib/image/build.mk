LIB_SRCS += \
	lib/image/chain.c \
	lib/image/create.c \
	lib/image/file.c \
	lib/image/file_bounce.c \
	lib/image/formats.c \
	lib/image/image.c \
	lib/image/iov.c \
	lib/image/lock.c \
	lib/image/queue.c \
	lib/image/queue_plan.c \
	lib/image/queue_uring.c \
	lib/image/queue_workers.c \
	lib/image/raw.c
