LIB_SRCS += \
	lib/image/file.c \
	lib/image/file_bounce.c \
	lib/image/lock.c
