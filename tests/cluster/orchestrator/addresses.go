package main

import (
	"fmt"
	"strings"
)

// The addresses of a cluster. Everything hangs on one switch: the control plane, the nodes and, for people and tests, the
// machine itself.
const (
	switchName  = "switch"
	controlName = "control"
	rootLink    = "culvert-k8s"

	rootAddress    = "172.30.0.1"
	controlAddress = "172.30.0.2"
	// outsideAddress is the nodes' default gateway, on the switch itself. What a test starts there is outside the cluster.
	outsideAddress = "172.30.0.254"
	rootV6         = "fd00:172:30::1"
	controlV6      = "fd00:172:30::2"
	outsideV6      = "fd00:172:30::fe"

	podCIDR        = "10.244.0.0/16"
	podCIDRV6      = "fd00:10:244::/48"
	serviceCIDR    = "10.96.0.0/16"
	serviceCIDRV6  = "fd00:10:96::/112"
	apiServiceIP   = "10.96.0.1"
	dnsServiceIP   = "10.96.0.10"
	apiServiceIPV6 = "fd00:10:96::1"
)

func nodeName(n int) string    { return fmt.Sprintf("node%d", n) }
func nodeAddress(n int) string { return fmt.Sprintf("172.30.0.%d", 10+n) }
func nodeV6(n int) string      { return fmt.Sprintf("fd00:172:30::1%d", n) }
func nodePods(n int) string    { return fmt.Sprintf("10.244.%d.0/24", n) }
func nodePodsV6(n int) string  { return fmt.Sprintf("fd00:10:244:%d::/64", n) }

// both joins the addresses of the families that the cluster has.
func (o options) both(v4, v6 string) string {
	if o.DualStack {
		return v4 + "," + v6
	}
	return v4
}

// nodeNumber is the N of nodeN, if the cluster has that node.
func (o options) nodeNumber(name string) (int, error) {
	for n := 1; n <= o.Nodes; n++ {
		if nodeName(n) == name {
			return n, nil
		}
	}
	names := make([]string, 0, o.Nodes)
	for n := 1; n <= o.Nodes; n++ {
		names = append(names, nodeName(n))
	}
	return 0, fmt.Errorf("no node %q; there are %s", name, strings.Join(names, ", "))
}
