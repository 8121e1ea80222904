// SPDX-License-Identifier: Apache-2.0
// frames FROM-NETNS IFNAME TO-NETNS IFNAME HELLO FRAME MARK: sends Ethernet frames (hex digits) out of the
// first interface: the first again and again until it comes out of the second interface, then the other two,
// one after the other. Prints "arrived" or "dropped": whether the second came out before the last one did.
// Exits with 1 when one of the others does not within 5 seconds.
//
// A link that was made a moment ago is up before the kernel's work queue has told its bridge, and until then
// what is sent is lost without a word. Once a hello has come through, everything that may pass does, in
// order.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define AGAIN_MS 10 // between one hello and the next

enum { HELLO, FRAME, MARK, COUNT };

struct frame {
	unsigned char bytes[2048];
	size_t len;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void parse(const char *hex, struct frame *frame)
{
	frame->len = strlen(hex) / 2;
	if (frame->len < ETH_HLEN || frame->len > sizeof(frame->bytes)) {
		fprintf(stderr, "frames: %zu bytes are no frame\n", frame->len);
		exit(2);
	}
	for (size_t i = 0; i < frame->len; i++) {
		char digits[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

		frame->bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
	}
}

static int open_port(const char *netns, const char *ifname)
{
	int ns = open(netns, O_RDONLY | O_CLOEXEC), fd, one = 1;
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
		.sll_protocol = __builtin_bswap16(ETH_P_ALL) };

	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		die(netns);
	close(ns);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, address.sll_protocol);
	address.sll_ifindex = (int)if_nametoindex(ifname);
	if (fd < 0 || !address.sll_ifindex || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(ifname);
	if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0)
		die("PACKET_AUXDATA");
	return fd;
}

// Receives one frame, with the VLAN tag that the kernel keeps beside it back in its place. False: there is
// none.
static int receive(int fd, struct frame *frame)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec part = { .iov_base = frame->bytes, .iov_len = sizeof(frame->bytes) - 4 };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(fd, &message, 0);

	if (got < 0 && errno != EAGAIN)
		die("recvmsg");
	if (got < 0)
		return 0;
	frame->len = (size_t)got;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		struct tpacket_auxdata aux;

		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			continue;
		memmove(frame->bytes + 16, frame->bytes + 12, frame->len - 12);
		frame->bytes[12] = (unsigned char)(aux.tp_vlan_tpid >> 8);
		frame->bytes[13] = (unsigned char)aux.tp_vlan_tpid;
		frame->bytes[14] = (unsigned char)(aux.tp_vlan_tci >> 8);
		frame->bytes[15] = (unsigned char)aux.tp_vlan_tci;
		frame->len += 4;
	}
	return 1;
}

static int equal(const struct frame *a, const struct frame *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

// Waits for a frame; tells by *arrived whether another one came first. False: it does not come in time.
static int await(int fd, const struct frame *awaited, const struct frame *other, int *arrived, int timeout)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct frame got;

	while (poll(&ready, 1, timeout) > 0) {
		while (receive(fd, &got)) {
			*arrived |= equal(&got, other);
			if (equal(&got, awaited))
				return 1;
		}
	}
	return 0;
}

static void transmit(int fd, const struct frame *frame)
{
	if (send(fd, frame->bytes, frame->len, 0) != (ssize_t)frame->len)
		die("send");
}

int main(int argc, char **argv)
{
	struct frame sent[COUNT];
	int from, to, arrived = 0, hellos = 0;
	cpu_set_t one;

	if (argc != 5 + COUNT) {
		fprintf(stderr, "usage: frames FROM-NETNS IFNAME TO-NETNS IFNAME HELLO FRAME MARK\n");
		return 2;
	}
	// On one processor frames keep their order all the way.
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < COUNT; i++)
		parse(argv[5 + i], &sent[i]);
	from = open_port(argv[1], argv[2]);
	to = open_port(argv[3], argv[4]);
	do {
		if (hellos++ == PATIENCE_MS / AGAIN_MS) {
			fprintf(stderr, "frames: the way does not open\n");
			return 1;
		}
		transmit(from, &sent[HELLO]);
	} while (!await(to, &sent[HELLO], &sent[FRAME], &arrived, AGAIN_MS));
	transmit(from, &sent[FRAME]);
	transmit(from, &sent[MARK]);
	if (!await(to, &sent[MARK], &sent[FRAME], &arrived, PATIENCE_MS)) {
		fprintf(stderr, "frames: the mark did not arrive\n");
		return 1;
	}
	puts(arrived ? "arrived" : "dropped");
	return 0;
}
