// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "tun.h"

#include "cleanup.h"
#include "io.h"
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#define TUN_PATH "/dev/net/tun"

// The namespace of the device is the one in which the file was opened.
static int open_inside(int netns, int *fd, struct mn_error *err)
{
	int home, ret, errnum;

	ret = mn_netns_enter(netns, &home, err);
	if (ret < 0)
		return ret;
	*fd = mn_openat(AT_FDCWD, TUN_PATH, O_RDWR | O_CLOEXEC, 0);
	errnum = errno;
	mn_netns_leave(&home);
	if (*fd < 0)
		return mn_fail(err, errnum, "open", TUN_PATH,
			"it makes TUN and TAP devices, and cannot be opened; load the module tun");
	return 0;
}

int mn_tun_open(int netns, const struct mn_tun *what, int *to, struct mn_error *err)
{
	struct ifreq request = { 0 };
	auto_close int fd = -1;
	int ret;

	ret = open_inside(netns, &fd, err);
	if (ret < 0)
		return ret;
	strncpy(request.ifr_name, what->ifname, IFNAMSIZ - 1);
	// Without IFF_TUN_EXCL somebody else's device of the name would be taken for ours.
	request.ifr_flags = (short)((what->tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI | IFF_TUN_EXCL |
		(what->multi_queue ? IFF_MULTI_QUEUE : 0));
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return mn_fail(err, errno, "make", what->ifname,
			errno == EBUSY ? "a link of this name is there already, and was left as it is"
				       : "the kernel made no TUN or TAP device");
	if ((what->owner >= 0 && ioctl(fd, TUNSETOWNER, (unsigned long)what->owner) < 0) ||
		(what->group >= 0 && ioctl(fd, TUNSETGROUP, (unsigned long)what->group) < 0))
		return mn_fail(err, errno, "make", what->ifname, "the kernel refused its owner or group");
	*to = fd;
	fd = -1;
	return 0;
}

int mn_tun_persist(int fd, struct mn_error *err)
{
	if (ioctl(fd, TUNSETPERSIST, 1UL) < 0)
		return mn_fail(err, errno, "keep", "TUN device", "the kernel does not let it stay");
	return 0;
}
