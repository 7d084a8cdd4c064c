LIB_SRCS += lib/virtio/iov.c lib/virtio/mapping.c lib/virtio/memory.c \
	lib/virtio/virtq.c lib/virtio/virtq_packed.c lib/virtio/virtq_split.c
