PROGS += vm-run
vm-run_SRCS := vm-run/child.c vm-run/main.c vm-run/plan.c \
	vm-run/plan_print.c vm-run/program.c vm-run/run_dir.c \
	vm-run/supervise.c vm-run/vmfile.c vm-run/vmfile_device.c
vmfile_FUZZ_SRCS := vm-run/plan.c vm-run/plan_print.c \
	vm-run/vmfile.c vm-run/vmfile_device.c
