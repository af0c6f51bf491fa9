// Command cluster builds, starts and stops a real Kubernetes on one machine: every node is a set of namespaces held by
// one process, which is PID 1 of that node, so that ending the process ends the node whole.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

const usage = `usage: cluster COMMAND
  build                                build what is missing (5 minutes the first time)
  up [--nodes N] [--dual-stack] [--proxy-mode nftables|iptables] [--no-gateway-api]
                                       start it (building first) and wait until it is ready
  down                                 stop it and remove all that it made
  status                               what runs, and whether it is ready (exit status 0 when it is)
  load TAR...                          import images on every node
  kubectl ARGS... | helm ARGS...       with the cluster's credentials
  node NAME -- COMMAND...              run in a node's namespaces (control is one, too)
  net -- COMMAND...                    run in the switch's namespace: bridge br0 sees all that passes between nodes
  smoke                                a pod on each node, and every way to reach them
  reboot NAME                          end everything on the node, and start it with the disk that it had
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	// The first process of a namespace. Not for people.
	if os.Args[1] == "init" {
		initMain(os.Args[2:])
		return
	}
	p, err := findPlaces()
	if err == nil {
		err = run(p, os.Args[1], os.Args[2:])
	}
	// The end of a command that was asked for; it said itself what is wrong.
	if exit, ended := err.(*exec.ExitError); ended {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			os.Exit(128 + int(status.Signal()))
		}
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(p places, command string, args []string) error {
	switch command {
	case "build":
		return build(p)
	case "up":
		return up(p, args)
	case "down":
		return down(p)
	case "status":
		return status(p)
	case "load":
		return load(p, args)
	case "kubectl", "helm":
		return tool(p, command, args)
	case "node":
		if len(args) < 3 || args[1] != "--" {
			return errors.New("say: cluster node NAME -- COMMAND...")
		}
		return enter(p, args[0], args[2:])
	case "net":
		if len(args) < 2 || args[0] != "--" {
			return errors.New("say: cluster net -- COMMAND...")
		}
		return enter(p, switchName, args[1:])
	case "smoke":
		return smoke(p)
	case "reboot":
		if len(args) != 1 {
			return errors.New("say: cluster reboot NAME")
		}
		return reboot(p, args[0])
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	}
	return fmt.Errorf("no such command: %s\n%s", command, usage)
}
