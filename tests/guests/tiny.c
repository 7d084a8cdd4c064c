/* SPDX-License-Identifier: ISC */
/*
 * The tiny guest: what needs no Linux is tested with this. It runs in 32-bit
 * protected mode without paging, as the PVH boot protocol starts it, with
 * general registers only, and is small enough for a KVM that interprets
 * kernel mode (about a million instructions a second).
 *
 * It says "tiny: hello" on COM1 and obeys the words of its command line one
 * after the other; after the last it powers off.
 *
 *	cmdline		print the command line
 *	cpus		count the processors in the MADT
 *	smp		start them all (INIT, SIPI) and count who came
 *	memory		print the memory map
 *	pci		list the PCI functions of bus 0 by ECAM
 *	echo		send back what comes in on COM1, until ^D
 *	count		print numbers for ever
 *	halt		stop, with interrupts off
 *	poweroff	by the FADT's sleep-control register and the DSDT's _S5
 *	reset		by the FADT's reset register
 *	reset-i8042	by the keyboard controller
 *	triple		a triple fault
 *	panic		pvpanic's "panicked"
 *	in8=P out8=P:V in32=P out32=P:V		ports, numbers in hexadecimal
 *	read8=A write8=A:V read32=A write32=A:V	memory
 */
#include <stddef.h>
#include <stdint.h>

enum {
	COM1 = 0x3f8,
	COM_DATA = COM1,
	COM_LINE_CONTROL = COM1 + 3,
	COM_LINE_STATUS = COM1 + 5,
	LSR_DATA_READY = 0x01,
	LSR_TRANSMITTER_EMPTY = 0x20,
	I8042_COMMAND = 0x64,
	I8042_PULSE_RESET = 0xfe,
	PVPANIC_PORT = 0x505,
	PVPANIC_PANICKED = 1,
	END_OF_TRANSMISSION = 4,

	/* ACPI 6.4 §5.2.9 */
	FADT_DSDT = 40,
	FADT_RESET_REGISTER = 116,
	FADT_RESET_VALUE = 128,
	FADT_SLEEP_CONTROL = 244,
	ACPI_HEADER_SIZE = 36,
	ACPI_SPACE_MEMORY = 0,
	ACPI_SPACE_IO = 1,
	SLEEP_ENABLE = 0x20, /* §4.8.3.7; SLP_TYP is bits 2 to 4 */
	/* §5.2.12 */
	MADT_ENTRIES = 44,
	MADT_LOCAL_APIC = 0,
	MADT_LOCAL_X2APIC = 9,
	/* PCI Firmware 3.2 §4.1.2 */
	MCFG_BASE = 44,

	LAPIC = (int)0xfee00000,
	LAPIC_SPURIOUS = 0xf0,
	LAPIC_COMMAND = 0x300,
	LAPIC_ENABLE = 0x1ff,
	ICR_INIT_ALL_BUT_SELF = 0xc4500,
	ICR_STARTUP_ALL_BUT_SELF = 0xc4600,
	TRAMPOLINE = 0x8000, /* its page is the startup vector */
};

/* The PVH boot protocol's struct hvm_start_info (xen/include/public). */
struct start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp;
	uint64_t memory_map; /* from version 1 on */
	uint32_t n_memory_map, reserved;
};

struct memory_map_entry {
	uint64_t base, size;
	uint32_t type, reserved;
};

/* Real mode, copied to TRAMPOLINE: count this processor, and stop. */
extern const char trampoline[], trampoline_end[];
enum {
	TRAMPOLINE_COUNTER = 0x7ff0,
};

/* The note that makes this a PVH kernel, the entry, and the trampoline. */
__asm__(".section .note.pvh, \"a\", @note\n"
	"	.long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
	"	.asciz \"Xen\"\n"
	"	.long start\n"
	".section .text.start, \"ax\"\n"
	".globl start\n"
	"start:	cld\n"
	"	movl $stack_top, %esp\n"
	"	pushl %ebx\n"
	"	call run\n"
	"1:	cli\n"
	"	hlt\n"
	"	jmp 1b\n"
	".text\n"
	".code16\n"
	"trampoline:\n"
	"	xorw %ax, %ax\n"
	"	movw %ax, %ds\n"
	"	lock incl 0x7ff0\n"
	"1:	cli\n"
	"	hlt\n"
	"	jmp 1b\n"
	"trampoline_end:\n"
	".code32\n"
	".bss\n"
	".balign 16\n"
	".skip 8192\n"
	"stack_top:\n"
	".text\n");

void run(const struct start_info *info);

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* Tables need not be aligned, and registers are not ordinary memory. */
static uint32_t read32(uint32_t address)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(address));
	return value;
}

static void write32(uint32_t address, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" ::"r"(value), "r"(address) : "memory");
}

static uint8_t read8(uint32_t address)
{
	uint8_t value;

	__asm__ volatile("movb (%1), %0" : "=q"(value) : "r"(address));
	return value;
}

static void write8(uint32_t address, uint8_t value)
{
	__asm__ volatile("movb %0, (%1)" ::"q"(value), "r"(address) : "memory");
}

static _Noreturn void stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void put_char(char c)
{
	while (!(in8(COM_LINE_STATUS) & LSR_TRANSMITTER_EMPTY))
		;
	out8(COM_DATA, (uint8_t)c);
}

static void put(const char *text)
{
	for (; *text; text++)
		put_char(*text);
}

static void put_decimal(uint32_t value)
{
	char digits[11];
	unsigned n = sizeof(digits) - 1;

	digits[n] = 0;
	do {
		digits[--n] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	put(digits + n);
}

static void put_hex(uint64_t value, unsigned n_digits)
{
	while (n_digits--)
		put_char("0123456789abcdef"[(value >> 4 * n_digits) & 15]);
}

/*
 * ACPI: the table of this signature, or 0. RSDP §5.2.5.3, XSDT §5.2.8; all
 * tables are below 4 GiB.
 */
static uint32_t find_table(uint32_t rsdp, const char *signature)
{
	uint32_t xsdt = rsdp ? read32(rsdp + 24) : 0;
	uint32_t end, entry, table, wanted = read32((uint32_t)signature);

	if (!xsdt)
		return 0;
	end = xsdt + read32(xsdt + 4);
	for (entry = xsdt + ACPI_HEADER_SIZE; entry < end; entry += 8) {
		table = read32(entry);
		if (read32(table) == wanted)
			return table;
	}
	return 0;
}

/* Write to a generic address structure's register, §5.2.3.2. */
static void write_register(uint32_t gas, uint8_t value)
{
	if (read8(gas) == ACPI_SPACE_MEMORY)
		write8(read32(gas + 4), value);
	else if (read8(gas) == ACPI_SPACE_IO)
		out8((uint16_t)read32(gas + 4), value);
}

/* The first element of the DSDT's \_S5 package (AML, §20.2.5.4). */
static uint8_t find_sleep_type(uint32_t dsdt)
{
	uint32_t wanted = read32((uint32_t) "_S5_");
	uint32_t at, end = dsdt + read32(dsdt + 4);

	for (at = dsdt + ACPI_HEADER_SIZE; at + 9 < end; at++) {
		if (read32(at) != wanted || read8(at + 4) != 0x12)
			continue;
		/* Length (one byte when short), number of elements, value. */
		return read8(at + 7) == 0x0a ? read8(at + 8) : read8(at + 7);
	}
	put("tiny: no _S5\n");
	return 5;
}

/* An end may come after the write that asks for it: on a busy machine, when
 * QEMU's main thread has its turn. */
static void linger(void)
{
	unsigned i;

	for (i = 0; i < 200000; i++)
		in8(COM_LINE_STATUS);
}

static void power_off(uint32_t rsdp)
{
	uint32_t fadt = find_table(rsdp, "FACP");
	uint32_t gas = fadt + FADT_SLEEP_CONTROL;

	if (!fadt || read32(fadt + 4) < FADT_SLEEP_CONTROL + 12 ||
	    !read32(gas + 4)) {
		put("tiny: no sleep-control register\n");
		stop();
	}
	write_register(gas, (uint8_t)(find_sleep_type(read32(fadt + FADT_DSDT))
					      << 2 |
				      SLEEP_ENABLE));
	linger();
	put("tiny: still on\n");
}

static void reset(uint32_t rsdp)
{
	uint32_t fadt = find_table(rsdp, "FACP");

	if (fadt)
		write_register(fadt + FADT_RESET_REGISTER,
			       read8(fadt + FADT_RESET_VALUE));
	linger();
	put("tiny: no reset\n");
}

/* No handler, and none for the fault that this is, nor for that one. */
static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" ::"m"(none));
}

static unsigned count_cpus(uint32_t rsdp)
{
	uint32_t madt = find_table(rsdp, "APIC");
	uint32_t at, end;
	unsigned n = 0;

	if (!madt)
		return 0;
	end = madt + read32(madt + 4);
	for (at = madt + MADT_ENTRIES; at < end; at += read8(at + 1)) {
		if (read8(at) == MADT_LOCAL_APIC)
			n += read32(at + 4) & 1;
		else if (read8(at) == MADT_LOCAL_X2APIC)
			n += read32(at + 8) & 1;
		if (read8(at + 1) == 0)
			break;
	}
	return n;
}

static void put_count(const char *name, unsigned n)
{
	put("tiny: ");
	put(name);
	put_char(' ');
	put_decimal(n);
	put_char('\n');
}

/* Intel SDM 3A §8.4.4.1; a virtual processor needs no pauses. */
static void start_processors(uint32_t rsdp)
{
	unsigned wanted = count_cpus(rsdp);
	uint32_t i;

	for (i = 0; trampoline + i < trampoline_end; i++)
		write8(TRAMPOLINE + i, (uint8_t)trampoline[i]);
	write32(TRAMPOLINE_COUNTER, 0);
	write32((uint32_t)LAPIC + LAPIC_SPURIOUS, LAPIC_ENABLE);
	write32((uint32_t)LAPIC + LAPIC_COMMAND, ICR_INIT_ALL_BUT_SELF);
	write32((uint32_t)LAPIC + LAPIC_COMMAND,
		ICR_STARTUP_ALL_BUT_SELF | TRAMPOLINE >> 12);
	while (read32(TRAMPOLINE_COUNTER) + 1 < wanted)
		__asm__ volatile("pause");
	put_count("smp", read32(TRAMPOLINE_COUNTER) + 1);
}

static void list_memory(const struct start_info *info)
{
	const struct memory_map_entry *map =
		(const void *)(uint32_t)info->memory_map;
	uint32_t i;

	for (i = 0; i < info->n_memory_map; i++) {
		put("tiny: memory ");
		put_hex(map[i].base, 16);
		put_char('+');
		put_hex(map[i].size, 16);
		put(" type ");
		put_decimal(map[i].type);
		put_char('\n');
	}
}

static void list_pci(uint32_t rsdp)
{
	uint32_t mcfg = find_table(rsdp, "MCFG");
	uint32_t slot, id, base = mcfg ? read32(mcfg + MCFG_BASE) : 0;

	if (!base) {
		put("tiny: no MCFG\n");
		return;
	}
	for (slot = 0; slot < 32; slot++) {
		id = read32(base + (slot << 15));
		if (id == 0xffffffff)
			continue;
		put("tiny: pci ");
		put_hex(slot, 2);
		put_char(' ');
		put_hex(id & 0xffff, 4);
		put_char(':');
		put_hex(id >> 16, 4);
		put_char('\n');
	}
}

static void echo(void)
{
	char c;

	do {
		while (!(in8(COM_LINE_STATUS) & LSR_DATA_READY))
			__asm__ volatile("pause");
		c = (char)in8(COM_DATA);
		put_char(c);
	} while (c != END_OF_TRANSMISSION);
}

static void count(void)
{
	uint32_t n;

	for (n = 0;; n++) {
		put_decimal(n);
		put_char('\n');
	}
}

/* Words. */
struct word {
	const char *text;
	unsigned len;
};

static int is_word(const struct word *word, const char *name)
{
	unsigned i;

	for (i = 0; i < word->len && name[i]; i++)
		if (word->text[i] != name[i])
			return 0;
	return !name[i] && (i == word->len || word->text[i] == '=');
}

static const char *skip_hex(const char *text, uint32_t *value)
{
	char c;

	for (*value = 0;; text++) {
		c = *text;
		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value << 4 | (uint32_t)(c - 'a' + 10);
		else
			return text;
	}
}

static void put_read(const struct word *word, uint32_t value, unsigned n_digits)
{
	unsigned i;

	put("tiny: ");
	for (i = 0; i < word->len; i++)
		put_char(word->text[i]);
	put_char(' ');
	put_hex(value, n_digits);
	put_char('\n');
}

/* in8=P and its kin; 0 if it is none of them. */
static int obey_access(const struct word *word)
{
	uint32_t address = 0, value = 0;
	unsigned i = 0;

	while (i < word->len && word->text[i] != '=')
		i++;
	if (i == word->len)
		return 0;
	if (*skip_hex(word->text + i + 1, &address) == ':')
		skip_hex(skip_hex(word->text + i + 1, &address) + 1, &value);
	if (is_word(word, "in8"))
		put_read(word, in8((uint16_t)address), 2);
	else if (is_word(word, "in32"))
		put_read(word, in32((uint16_t)address), 8);
	else if (is_word(word, "read8"))
		put_read(word, read8(address), 2);
	else if (is_word(word, "read32"))
		put_read(word, read32(address), 8);
	else if (is_word(word, "out8"))
		out8((uint16_t)address, (uint8_t)value);
	else if (is_word(word, "out32"))
		out32((uint16_t)address, value);
	else if (is_word(word, "write8"))
		write8(address, (uint8_t)value);
	else if (is_word(word, "write32"))
		write32(address, value);
	else
		return 0;
	return 1;
}

static int obey_end(const struct word *word, uint32_t rsdp)
{
	if (is_word(word, "poweroff"))
		power_off(rsdp);
	else if (is_word(word, "reset"))
		reset(rsdp);
	else if (is_word(word, "reset-i8042"))
		out8(I8042_COMMAND, I8042_PULSE_RESET);
	else if (is_word(word, "triple"))
		triple_fault();
	else if (is_word(word, "panic"))
		out8(PVPANIC_PORT, PVPANIC_PANICKED);
	else if (is_word(word, "halt"))
		stop();
	else
		return 0;
	return 1;
}

static void obey(const struct word *word, const struct start_info *info)
{
	uint32_t rsdp = (uint32_t)info->rsdp;
	unsigned i;

	if (is_word(word, "cmdline")) {
		put("tiny: cmdline ");
		put((const char *)(uint32_t)info->cmdline);
		put_char('\n');
	} else if (is_word(word, "cpus")) {
		put_count("cpus", count_cpus(rsdp));
	} else if (is_word(word, "smp")) {
		start_processors(rsdp);
	} else if (is_word(word, "memory")) {
		list_memory(info);
	} else if (is_word(word, "pci")) {
		list_pci(rsdp);
	} else if (is_word(word, "echo")) {
		echo();
	} else if (is_word(word, "count")) {
		count();
	} else if (!obey_access(word) && !obey_end(word, rsdp)) {
		put("tiny: unknown word ");
		for (i = 0; i < word->len; i++)
			put_char(word->text[i]);
		put_char('\n');
	}
}

void run(const struct start_info *info)
{
	const char *text = (const char *)(uint32_t)info->cmdline;
	struct word word;

	out8(COM_LINE_CONTROL, 3); /* 8 bits, no parity */
	put("tiny: hello\n");
	while (text && *text) {
		for (word.text = text, word.len = 0; *text && *text != ' ';
		     text++)
			word.len++;
		if (word.len > 0)
			obey(&word, info);
		while (*text == ' ')
			text++;
	}
	power_off((uint32_t)info->rsdp);
}
