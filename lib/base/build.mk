LIB_SRCS += lib/base/error.c
