PROGS += vm-img
vm-img_SRCS := \
	vm-img/abbreviation.c \
	vm-img/amend.c \
	vm-img/arguments.c \
	vm-img/bench.c \
	vm-img/bitmap.c \
	vm-img/bitmaps.c \
	vm-img/check.c \
	vm-img/commit.c \
	vm-img/compact.c \
	vm-img/compare.c \
	vm-img/convert.c \
	vm-img/convert_check.c \
	vm-img/convert_options.c \
	vm-img/convert_stream.c \
	vm-img/copy.c \
	vm-img/copy_batches.c \
	vm-img/copy_data.c \
	vm-img/copy_feed.c \
	vm-img/copy_map.c \
	vm-img/create.c \
	vm-img/dd.c \
	vm-img/encryption.c \
	vm-img/format_options.c \
	vm-img/info.c \
	vm-img/info_bitmaps.c \
	vm-img/info_json.c \
	vm-img/info_limits.c \
	vm-img/info_print.c \
	vm-img/json.c \
	vm-img/json_read.c \
	vm-img/keys.c \
	vm-img/main.c \
	vm-img/map.c \
	vm-img/measure.c \
	vm-img/object.c \
	vm-img/object_help.c \
	vm-img/object_secret.c \
	vm-img/object_throttle.c \
	vm-img/object_tls.c \
	vm-img/object_unused.c \
	vm-img/progress.c \
	vm-img/protocols.c \
	vm-img/rate.c \
	vm-img/rebase.c \
	vm-img/rebase_copy.c \
	vm-img/report.c \
	vm-img/resize.c \
	vm-img/salvage.c \
	vm-img/snapshot.c \
	vm-img/source.c \
	vm-img/source_blkdebug.c \
	vm-img/source_encryption.c \
	vm-img/source_filter.c \
	vm-img/source_finish.c \
	vm-img/source_format.c \
	vm-img/source_how.c \
	vm-img/source_name.c \
	vm-img/source_nbd.c \
	vm-img/source_node.c \
	vm-img/source_null.c \
	vm-img/source_plain.c \
	vm-img/source_qcow2.c \
	vm-img/source_quorum.c \
	vm-img/standard.c \
	vm-img/status.c \
	vm-img/stream.c \
	vm-img/stream_model.c \
	vm-img/stream_qcow2.c \
	vm-img/stream_qcow2_layout.c \
	vm-img/stream_vmdk.c \
	vm-img/trace.c \
	vm-img/turns.c \
	vm-img/workers.c
vm-img_LIBS = $(IMAGE_LIBS)
json_read_FUZZ_SRCS := vm-img/json_read.c
source_plain_FUZZ_SRCS := $(filter vm-img/format_options.c vm-img/json% \
	vm-img/keys.c vm-img/object% vm-img/protocols.c vm-img/report.c \
	vm-img/source%,$(vm-img_SRCS))
