// SPDX-License-Identifier: Apache-2.0
// The first instructions of the portable mncni, which uses no loader and no library of its host. PT_INTERP
// would have to be an absolute path, so the program has none, and does here what the kernel does for it: maps
// the loader that lies beside the program, tells it so in the auxiliary vector, and lets it begin. There is
// no second execve, and argv[0] and /proc/self/exe are what they always are.
//
// It runs before anything is relocated: no libc, no thread-local storage; the Makefile compiles it
// accordingly.
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define HEADERS 16 // more segments than any loader has

// The entry: hands the stack, as the kernel has made it, to load() and goes on with it where that says.
#if defined(__x86_64__)
__asm__(".globl mn_portable_start\n.type mn_portable_start, @function\nmn_portable_start:\n"
	"xor %ebp, %ebp\nmov %rsp, %rbx\nmov %rsp, %rdi\nand $-16, %rsp\ncall mn_portable_load\n"
	"mov %rbx, %rsp\nxor %edx, %edx\njmp *%rax\n");

static long sys(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
__asm__(".globl mn_portable_start\n.type mn_portable_start, %function\nmn_portable_start:\n"
	"mov x19, sp\nmov x0, sp\nbl mn_portable_load\nmov x16, x0\nmov sp, x19\nmov x0, #0\nbr x16\n");

static long sys(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "portable.c knows x86_64 and aarch64: add the entry and the system call of this machine"
#endif

extern void _start(void); // of libc, where the loader goes on when it is done

static const char loader[] = LIBRARIES "/ld.so";
static Elf64_Phdr segments[2 * HEADERS]; // the program's own, and the PT_INTERP that the loader wants to see

uintptr_t mn_portable_load(uintptr_t *stack);

// Ends the program with what a CNI plugin has to print.
__attribute__((noreturn)) static void fail(void)
{
	static const char document[] = "{\"code\": 5, \"msg\": \"" LIBRARIES
				       "/ld.so, which lies beside this program, cannot be loaded: install "
				       "the whole directory again, and see that /proc is mounted\"}\n";

	sys(SYS_write, 1, (long)document, sizeof(document) - 1, 0, 0, 0);
	sys(SYS_exit_group, 1, 0, 0, 0, 0, 0);
	for (;;)
		;
}

// Opens the loader beside the program; below 0 on failure.
static int open_loader(void)
{
	char path[PATH_MAX + sizeof(loader)];
	long len = sys(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)path, PATH_MAX, 0, 0);

	while (len > 0 && path[len - 1] != '/')
		len--;
	if (len <= 0)
		return -1;
	for (size_t i = 0; i < sizeof(loader); i++)
		path[(size_t)len + i] = loader[i];
	return (int)sys(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
}

static uintptr_t map(uintptr_t address, size_t size, int protection, int flags, int fd, uint64_t offset)
{
	long result =
		sys(SYS_mmap, (long)address, (long)size, protection, MAP_PRIVATE | flags, fd, (long)offset);

	if (result < 0 && result > -4096)
		fail();
	return (uintptr_t)result;
}

// Maps one segment; what it has beyond the file is zero.
static void map_segment(uintptr_t base, const Elf64_Phdr *segment, int fd, uint64_t page)
{
	uintptr_t start = (base + segment->p_vaddr) & ~(page - 1);
	uintptr_t filled = base + segment->p_vaddr + segment->p_filesz;
	uintptr_t end = base + segment->p_vaddr + segment->p_memsz;
	uintptr_t mapped = (filled + page - 1) & ~(page - 1);
	int protection = (segment->p_flags & PF_R ? PROT_READ : 0) |
		(segment->p_flags & PF_W ? PROT_WRITE : 0) | (segment->p_flags & PF_X ? PROT_EXEC : 0);

	map(start, filled - start, protection, MAP_FIXED, fd, segment->p_offset & ~(page - 1));
	if (end > filled) {
		for (volatile char *at = (volatile char *)filled; at < (volatile char *)mapped; at++)
			*at = 0;
	}
	if (end > mapped)
		map(mapped, end - mapped, protection, MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

static Elf64_auxv_t *find(Elf64_auxv_t *vector, uint64_t type)
{
	while (vector->a_type != type) {
		if (vector->a_type == AT_NULL)
			fail();
		vector++;
	}
	return vector;
}

// Says in the auxiliary vector what the kernel would have said of a program with PT_INTERP.
static void tell(Elf64_auxv_t *vector, uintptr_t base)
{
	Elf64_auxv_t *headers = find(vector, AT_PHDR), *count = find(vector, AT_PHNUM);
	const Elf64_Phdr *own = (const Elf64_Phdr *)headers->a_un.a_val;
	size_t n = count->a_un.a_val;

	if (n >= sizeof(segments) / sizeof(segments[0]))
		fail();
	for (size_t i = 0; i < n; i++)
		segments[i + 1] = own[i];
	segments[0] =
		(Elf64_Phdr){ .p_type = PT_INTERP, .p_vaddr = (uintptr_t)loader, .p_memsz = sizeof(loader) };
	headers->a_un.a_val = (uintptr_t)segments;
	count->a_un.a_val = n + 1;
	find(vector, AT_BASE)->a_un.a_val = base;
	find(vector, AT_ENTRY)->a_un.a_val = (uintptr_t)_start;
}

// Maps the loader and returns where it begins. The stack has the words of main(), then the auxiliary vector.
uintptr_t mn_portable_load(uintptr_t *stack)
{
	static struct {
		Elf64_Ehdr header;
		Elf64_Phdr segments[HEADERS];
	} file;
	uintptr_t *word = stack + 1 + stack[0] + 1, base;
	uint64_t page, size = 0;
	int fd = open_loader();
	long n = fd < 0 ? fd : sys(SYS_pread64, fd, (long)&file, sizeof(file), 0, 0, 0);

	if (n < (long)sizeof(file) || file.header.e_type != ET_DYN ||
		file.header.e_phoff != sizeof(file.header) || file.header.e_phnum > HEADERS)
		fail();
	while (*word)
		word++;
	page = find((Elf64_auxv_t *)(word + 1), AT_PAGESZ)->a_un.a_val;
	for (int i = 0; i < file.header.e_phnum; i++) {
		const Elf64_Phdr *segment = &file.segments[i];

		if (segment->p_type == PT_LOAD && segment->p_vaddr + segment->p_memsz > size)
			size = segment->p_vaddr + segment->p_memsz;
	}
	base = map(0, size, PROT_NONE, MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < file.header.e_phnum; i++) {
		if (file.segments[i].p_type == PT_LOAD)
			map_segment(base, &file.segments[i], fd, page);
	}
	sys(SYS_close, fd, 0, 0, 0, 0, 0);
	tell((Elf64_auxv_t *)(word + 1), base);
	return base + file.header.e_entry;
}
