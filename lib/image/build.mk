LIB_SRCS += \
	lib/image/chain.c \
	lib/image/create.c \
	lib/image/file.c \
	lib/image/file_bounce.c \
	lib/image/formats.c \
	lib/image/image.c \
	lib/image/lock.c \
	lib/image/raw.c
