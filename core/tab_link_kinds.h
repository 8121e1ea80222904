// SPDX-License-Identifier: Apache-2.0
// The tables of tab_link_kinds.c, for tab_link.c.
#ifndef MNCNI_TAB_LINK_KINDS_H
#define MNCNI_TAB_LINK_KINDS_H

#include "schema.h"

extern const struct mn_name mn_vlan_protocols[];
extern const struct mn_table mn_vlan_table, mn_macvlan_table, mn_ipvlan_table, mn_vrf_table,
	mn_vrf_slave_table, mn_tun_table;

#endif
