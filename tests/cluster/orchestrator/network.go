package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// wireSwitch makes the bridge, and the link by which the machine itself reaches the cluster.
func wireSwitch(pid int) error {
	if err := inNetwork(pid,
		"link set lo up",
		"link add br0 type bridge",
		"addr add "+outsideAddress+"/24 dev br0",
		"addr add "+outsideV6+"/64 dev br0 nodad",
		"link set br0 up",
	); err != nil {
		return err
	}
	// A link that a crash left goes with its namespace, but not at once.
	_ = exec.Command("ip", "link", "del", rootLink).Run()
	for _, line := range []string{
		fmt.Sprintf("link add %s type veth peer name machine netns %d", rootLink, pid),
		"addr add " + rootAddress + "/24 dev " + rootLink,
		"addr add " + rootV6 + "/64 dev " + rootLink + " nodad",
		"link set " + rootLink + " up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %s: %w", line, strings.TrimSpace(string(out)), err)
		}
	}
	return inNetwork(pid, "link set machine master br0", "link set machine up")
}

// plug joins a place to the switch as eth0, and gives it the routes to every node's pods.
func plug(switchPid, pid int, o options, name, v4, v6 string) error {
	if err := inNetwork(switchPid,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", name, pid),
		"link set "+name+" master br0",
		"link set "+name+" up",
	); err != nil {
		return err
	}
	lines := []string{
		"link set lo up",
		"addr add " + v4 + "/24 dev eth0",
		"addr add " + v6 + "/64 dev eth0 nodad",
		"link set eth0 up",
		"route add default via " + outsideAddress,
		"route add default via " + outsideV6,
	}
	for n := 1; n <= o.Nodes; n++ {
		if nodeName(n) == name {
			continue
		}
		lines = append(lines,
			fmt.Sprintf("route add %s via %s", nodePods(n), nodeAddress(n)),
			fmt.Sprintf("route add %s via %s", nodePodsV6(n), nodeV6(n)))
	}
	return inNetwork(pid, lines...)
}
