package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// Linux numbers that the syscall package has no names for.
const sysPidfdOpen = 434

var sysSetns = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// enter runs a command in a place's namespaces. It ends when this process does, however that ends.
func enter(p places, name string, args []string) error {
	pid := pidOf(p, name)
	if pid == 0 {
		return fmt.Errorf("%s does not run", name)
	}
	// Namespaces are a thread's; the child is made by the same thread and dies with it.
	runtime.LockOSThread()
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return fmt.Errorf("pidfd_open: %w", errno)
	}
	// A thread may change its mount namespace only when its root directory is not shared with others.
	if err := syscall.Unshare(syscall.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	spaces := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC)
	if _, _, errno := syscall.Syscall(sysSetns, fd, spaces, 0); errno != 0 {
		return fmt.Errorf("setns to %s: %w", name, errno)
	}
	// Go's own Pdeathsig takes a parent in another process namespace for one that has ended.
	c := exec.Command("setpriv", append([]string{"--pdeathsig", "KILL", "--"}, args...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := c.Start(); err != nil {
		return err
	}
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s)
		}
	}()
	return c.Wait()
}

// replace turns this process into the command.
func replace(c *exec.Cmd) error {
	if c.Err != nil {
		return c.Err
	}
	return syscall.Exec(c.Path, c.Args, c.Env)
}
