package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// begin starts a place: a process that is PID 1 of new namespaces. `wire` is called with its pid when its mounts stand;
// after that its daemons start. The process outlives this command.
func begin(p places, pl plan, wire func(pid int) error) error {
	if err := mkdirs(p.logs, filepath.Join(p.state, "plans")); err != nil {
		return err
	}
	text, err := json.MarshalIndent(pl, "", "  ")
	if err != nil {
		return err
	}
	file := p.planFile(pl.Name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	ready, readyIn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	goOut, goOn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer goOn.Close()
	log, err := os.OpenFile(filepath.Join(p.logs, pl.Name+"-init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(filepath.Join(p.bin, "cluster"), "init", file)
	c.Stdout, c.Stderr, c.Dir = log, log, "/"
	c.ExtraFiles = []*os.File{readyIn, goOut}
	c.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = c.Start()
	readyIn.Close()
	goOut.Close()
	if err != nil {
		return fmt.Errorf("starting %s: %w", pl.Name, err)
	}
	said, err := io.ReadAll(ready)
	if err == nil && string(said) != "ok" {
		err = fmt.Errorf("%s does not start: %s (see %s)", pl.Name, said, log.Name())
	}
	if err == nil {
		err = wire(c.Process.Pid)
	}
	if err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	return err
}

func (p places) planFile(name string) string { return filepath.Join(p.state, "plans", name+".json") }

// pidOf finds a place's first process by its command line, so that nothing written down can be stale. 0: it does not run.
func pidOf(p places, name string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		args := strings.Split(string(line), "\x00")
		if len(args) >= 3 && args[1] == "init" && args[2] == p.planFile(name) && firstOfNamespace(pid) {
			return pid
		}
	}
	return 0
}

// firstOfNamespace says whether the process is PID 1 of a namespace below ours.
func firstOfNamespace(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			ids := strings.Fields(rest)
			return len(ids) > 1 && ids[len(ids)-1] == "1"
		}
	}
	return false
}

// end kills a place: the kernel kills all that lives in its process namespace, and drops its mounts and its network.
func end(p places, name string) error {
	pid := pidOf(p, name)
	if pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending %s: %w", name, err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for pidOf(p, name) != 0 {
			if time.Now().After(deadline) {
				return fmt.Errorf("%s (process %d) does not end", name, pid)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return removeCgroup(cgroupName(name))
}

// inNetwork runs `ip -batch` in the network of a process.
func inNetwork(pid int, lines ...string) error {
	c := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--net", "ip", "-batch", "-")
	c.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %s: %w", strings.TrimSpace(string(out)), err)
	}
	return nil
}
