// SPDX-License-Identifier: Apache-2.0
// The memory of one Lua state: small blocks come from chunks, by size, and go back to lists of their size;
// the chunks are returned with the heap. One short call makes some thousand blocks and frees most of them
// never, which this does several times faster than malloc. The first heap of a process has its first chunk
// in the program's own memory, for which the kernel has nothing to set up.
#ifndef MNCNI_HEAP_H
#define MNCNI_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#define MN_HEAP_STEP 8u	   // bytes; each size class holds blocks of one multiple of it; Lua needs no more
#define MN_HEAP_SMALL 1024 // bytes of the largest block that is taken from a chunk

// What a block is while nobody uses it.
struct mn_heap_block {
	struct mn_heap_block *next;
};

// How a chunk begins.
struct mn_heap_chunk {
	struct mn_heap_chunk *next;
	size_t size;
};

struct mn_heap {
	struct mn_heap_block *free[MN_HEAP_SMALL / MN_HEAP_STEP];
	char *at, *end;	 // what is left of the newest chunk, as far as its pages are there
	char *chunk_end; // and where it ends
	size_t piece;	 // bytes whose pages come next
	struct mn_heap_chunk *chunks;
	bool has_home; // the program's own memory is this heap's
	char *image;   // where blocks of a snapshot lie, which are nobody's to free
	size_t image_size;
	bool filling; // the snapshot is being made: every block comes from there
	char *large;  // where one large block goes, if it is not taken yet
	size_t large_size;
};

// Has the pages of what will be written there by one system call instead of a fault for each; an old kernel
// does not know it, and has the faults.
void mn_heap_populate(char *from, size_t size);

// Has all blocks, large ones too, come from the memory given, until that is full: the first one of large_size
// bytes from its beginning.
void mn_heap_fill(struct mn_heap *heap, char *image, size_t size, size_t large_size);

// Whether mn_heap_fill works in this build: not under AddressSanitizer.
bool mn_heap_fills(void);

// As realloc(3), for blocks of this heap, with the size that the block has now. NULL when memory is short:
// the block is as it was then. A new_size of 0 frees it.
void *mn_heap_realloc(struct mn_heap *heap, void *block, size_t old_size, size_t new_size);

// Returns all small blocks at once; the large ones must have been freed.
void mn_heap_clear(struct mn_heap *heap);

#endif
