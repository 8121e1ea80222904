// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "heap.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4 << 10)
#define HOME ((size_t)96 << 10)	  // bytes; more than one call of the plugin needs
#define CHUNK ((size_t)64 << 10)  // bytes
#define PIECE ((size_t)16 << 10)  // bytes of a chunk that get their pages at once, all that some verbs need
#define PIECES ((size_t)40 << 10) // and of those that follow: with the first, what most ADDs need

void mn_heap_populate(char *from, size_t size)
{
	char *page = from - (uintptr_t)from % PAGE;

	(void)madvise(page, size + (size_t)(from - page), MADV_POPULATE_WRITE);
}

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define WATCHED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WATCHED)

// AddressSanitizer sees each misuse of a block only when that is malloc's own.
void *mn_heap_realloc(struct mn_heap *heap, void *block, size_t old_size, size_t new_size)
{
	(void)heap;
	(void)old_size;
	if (new_size > 0)
		return realloc(block, new_size);
	free(block);
	return NULL;
}

void mn_heap_clear(struct mn_heap *heap)
{
	(void)heap;
}

void mn_heap_fill(struct mn_heap *heap, char *image, size_t size, size_t large_size)
{
	(void)heap;
	(void)image;
	(void)size;
	(void)large_size;
}

bool mn_heap_fills(void)
{
	return false;
}

#else

static size_t class_of(size_t size)
{
	return (size - 1) / MN_HEAP_STEP;
}

static void *bump(struct mn_heap *heap, size_t room)
{
	if ((size_t)(heap->end - heap->at) < room)
		return NULL;
	heap->at += room;
	return heap->at - room;
}

// The first heap's first chunk, and whose it is, in one page with what that writes first.
static struct {
	atomic_flag taken;
	char chunk[HOME - sizeof(atomic_flag)];
} home __attribute__((aligned(4096))) = { .taken = ATOMIC_FLAG_INIT };

// Has the pages of the chunk's next piece there: the kernel empties a list of its own each time.
static void extend(struct mn_heap *heap)
{
	size_t left = (size_t)(heap->chunk_end - heap->end), size = left < heap->piece ? left : heap->piece;

	mn_heap_populate(heap->end, size);
	heap->end += size;
	heap->piece = PIECES;
}

// Begins with a new chunk, in which the first `head` bytes are no block's.
static void begin(struct mn_heap *heap, char *chunk, size_t size, size_t head)
{
	heap->piece = PIECE;
	heap->end = chunk;
	heap->chunk_end = chunk + size;
	extend(heap);
	heap->at = chunk + head;
}

static bool take_chunk(struct mn_heap *heap)
{
	struct mn_heap_chunk *chunk;

	if (!heap->has_home && !atomic_flag_test_and_set(&home.taken)) {
		heap->has_home = true;
		begin(heap, (char *)&home, sizeof(home), MN_HEAP_STEP);
		return true;
	}
	chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk == MAP_FAILED)
		return false;
	begin(heap, (char *)chunk, CHUNK, sizeof(*chunk));
	*chunk = (struct mn_heap_chunk){ .next = heap->chunks, .size = CHUNK };
	heap->chunks = chunk;
	return true;
}

// Takes a block that the pages at hand have no room for.
static void *__attribute__((noinline)) take_further(struct mn_heap *heap, size_t room)
{
	if (heap->filling)
		return NULL;
	if ((size_t)(heap->chunk_end - heap->at) < room && !take_chunk(heap))
		return NULL;
	if ((size_t)(heap->end - heap->at) < room)
		extend(heap);
	return bump(heap, room);
}

static inline void *take(struct mn_heap *heap, size_t size)
{
	size_t class = class_of(size), room = (class + 1) * MN_HEAP_STEP;
	struct mn_heap_block *block = heap->free[class];
	void *taken;

	if (block) {
		heap->free[class] = block->next;
		return block;
	}
	taken = bump(heap, room);
	return taken ? taken : take_further(heap, room);
}

static void give(struct mn_heap *heap, struct mn_heap_block *block, size_t size)
{
	size_t class = class_of(size);

	block->next = heap->free[class];
	heap->free[class] = block;
}

// Whether a large block is one of malloc's.
static bool is_malloced(const struct mn_heap *heap, const void *block)
{
	return !heap->image || (uintptr_t)block - (uintptr_t)heap->image >= heap->image_size;
}

static void *take_large(struct mn_heap *heap, size_t size)
{
	char *block = heap->large;

	if (!heap->filling)
		return malloc(size);
	if (block && size == heap->large_size) {
		heap->large = NULL;
		return block;
	}
	return bump(heap, (size + MN_HEAP_STEP - 1) / MN_HEAP_STEP * MN_HEAP_STEP);
}

static void release(struct mn_heap *heap, void *block, size_t size)
{
	if (size <= MN_HEAP_SMALL)
		give(heap, block, size);
	else if (is_malloced(heap, block))
		free(block);
}

static void *__attribute__((noinline))
resize(struct mn_heap *heap, void *block, size_t old_size, size_t new_size)
{
	void *moved;

	if (block && new_size > MN_HEAP_SMALL && old_size > MN_HEAP_SMALL && is_malloced(heap, block))
		return realloc(block, new_size);
	if (block && new_size <= MN_HEAP_SMALL && old_size <= MN_HEAP_SMALL &&
		class_of(old_size) == class_of(new_size))
		return block;
	moved = new_size > MN_HEAP_SMALL ? take_large(heap, new_size) : take(heap, new_size);
	if (!moved && new_size < old_size)
		return block; // Lua relies on it that shrinking cannot fail
	if (moved && block) {
		memcpy(moved, block, old_size < new_size ? old_size : new_size);
		release(heap, block, old_size);
	}
	return moved;
}

// Most blocks are new and small: nothing else is looked at for them.
void *mn_heap_realloc(struct mn_heap *heap, void *block, size_t old_size, size_t new_size)
{
	if (new_size == 0) {
		if (block)
			release(heap, block, old_size);
		return NULL;
	}
	if (!block && new_size <= MN_HEAP_SMALL)
		return take(heap, new_size);
	return resize(heap, block, old_size, new_size);
}

void mn_heap_clear(struct mn_heap *heap)
{
	while (heap->chunks) {
		struct mn_heap_chunk *chunk = heap->chunks;

		heap->chunks = chunk->next;
		munmap(chunk, chunk->size);
	}
	if (heap->has_home)
		atomic_flag_clear(&home.taken);
	memset(heap, 0, sizeof(*heap));
}

void mn_heap_fill(struct mn_heap *heap, char *image, size_t size, size_t large_size)
{
	*heap = (struct mn_heap){ .image = image, .image_size = size, .filling = true };
	heap->large = image;
	heap->large_size = large_size;
	heap->at = image + large_size;
	heap->end = image + size;
}

bool mn_heap_fills(void)
{
	return true;
}

#endif
