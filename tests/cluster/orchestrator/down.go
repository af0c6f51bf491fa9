package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// running are the places that this cluster has or had, whatever a crash left of its files.
func known(p places) []string {
	names := []string{}
	for n := 9; n >= 1; n-- {
		names = append(names, nodeName(n))
	}
	return append(names, controlName, switchName)
}

// down ends every place and removes what the cluster has on this machine. The logs stay until the next `up`.
func down(p places) error {
	if os.Geteuid() != 0 {
		return errors.New("start it as root")
	}
	for _, name := range known(p) {
		if err := end(p, name); err != nil {
			return err
		}
	}
	// The machine's own link ends with the switch, some moments after.
	if err := waitFor(10*time.Second, func() error {
		if exec.Command("ip", "link", "show", rootLink).Run() == nil {
			return fmt.Errorf("the link %s stays", rootLink)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, d := range []string{"disk", "pki", "plans", "images", "options.json"} {
		if err := os.RemoveAll(filepath.Join(p.state, d)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(p.kubeconfig); err != nil {
		return err
	}
	return nil
}

// reboot ends a node as if its power went, and starts it with its disk.
func reboot(p places, name string) error {
	o, err := p.options()
	if err != nil {
		return err
	}
	n, err := o.nodeNumber(name)
	if err != nil {
		return err
	}
	if err := end(p, name); err != nil {
		return err
	}
	return startNode(p, o, n)
}

func status(p places) error {
	o, err := p.options()
	if err != nil {
		return err
	}
	fmt.Printf("%d nodes, dual-stack %v, kube-proxy with %s\n", o.Nodes, o.DualStack, o.ProxyMode)
	for _, name := range known(p) {
		pid := pidOf(p, name)
		if _, err := os.Stat(p.planFile(name)); err != nil && pid == 0 {
			continue
		}
		if pid == 0 {
			fmt.Printf("%-8s does not run\n", name)
			continue
		}
		fmt.Printf("%-8s process %d\n", name, pid)
	}
	if err := ready(p); err != nil {
		return err
	}
	fmt.Println("ready: KUBECONFIG=" + p.kubeconfig)
	return nil
}

// tool runs kubectl or helm in this process's place.
func tool(p places, name string, args []string) error {
	if _, err := p.options(); err != nil {
		return err
	}
	c := exec.Command(filepath.Join(p.bin, name), args...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "KUBECONFIG=") {
			c.Env = append(c.Env, e)
		}
	}
	c.Env = append(c.Env, "KUBECONFIG="+p.kubeconfig)
	return replace(c)
}
