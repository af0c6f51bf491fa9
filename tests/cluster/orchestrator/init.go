package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// plan is what the first process of a place is told: which mounts to make, what to write, and what to run.
type plan struct {
	Name string
	// Disk is where the place keeps what it writes over a reboot; empty for one that keeps nothing.
	Disk string
	// Overlays are directories that it sees as the machine's until it writes to them.
	Overlays []string
	// Binds are directories that are its own from the start.
	Binds []string
	// Pinned are kernel settings that belong to the whole machine: what the place sees and thinks it sets.
	Pinned  map[string]string
	Sysctls map[string]string
	Files   map[string]string
	Copies  map[string]string
	Cgroup  string
	Logs    string
	Daemons []daemon
}

type daemon struct {
	Name string
	Args []string
	// Before is a path that must exist before the daemon is started.
	Before string
}

// initMain is PID 1 of a place. It came up in new namespaces, whose network the parent is about to wire; it prepares the
// mounts, says so by a byte on descriptor 3, waits for the byte that says that the network is there, and keeps the daemons running.
func initMain(args []string) {
	ready, goOn := os.NewFile(3, "ready"), os.NewFile(4, "go")
	fail := func(err error) {
		fmt.Fprintf(ready, "%v", err)
		os.Exit(1)
	}
	var p plan
	text, err := os.ReadFile(args[0])
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err == nil {
		err = prepare(p)
	}
	if err != nil {
		fail(err)
	}
	fmt.Fprint(ready, "ok")
	ready.Close()
	if _, err := io.ReadAll(goOn); err != nil {
		os.Exit(1)
	}
	goOn.Close()
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	supervise(p)
}

func prepare(p plan) error {
	if err := syscall.Sethostname([]byte(p.Name)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if p.Cgroup != "" {
		if err := joinCgroup(p.Cgroup); err != nil {
			return err
		}
	}
	if err := mounts(p); err != nil {
		return err
	}
	for from, to := range p.Copies {
		if err := copyDir(from, to); err != nil {
			return err
		}
	}
	for file, text := range p.Files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, value := range p.Sysctls {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	return nil
}

// supervise starts the daemons in their order, restarts one that ends, as an init does, and buries orphans.
func supervise(p plan) {
	running := map[int]daemon{}
	again := make(chan daemon, len(p.Daemons))
	children := make(chan os.Signal, 64)
	signal.Notify(children, syscall.SIGCHLD)
	start := func(d daemon) {
		pid, err := spawn(p, d)
		if err != nil {
			note(p, "%s: %v", d.Name, err)
			time.AfterFunc(time.Second, func() { again <- d })
			return
		}
		running[pid] = d
	}
	go func() {
		for _, d := range p.Daemons {
			for d.Before != "" {
				if _, err := os.Stat(d.Before); err == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			again <- d
		}
	}()
	for {
		select {
		case d := <-again:
			start(d)
		case <-children:
		}
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
			if d, ours := running[pid]; ours {
				delete(running, pid)
				note(p, "%s ended (status %d, signal %v); again in a second", d.Name, status.ExitStatus(), status.Signal())
				time.AfterFunc(time.Second, func() { again <- d })
			}
		}
	}
}

func spawn(p plan, d daemon) (int, error) {
	log, err := os.OpenFile(filepath.Join(p.Logs, p.Name+"-"+d.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(d.Args[0], d.Args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

func note(p plan, format string, args ...any) {
	log, err := os.OpenFile(filepath.Join(p.Logs, p.Name+"-init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer log.Close()
	fmt.Fprintf(log, "%s %s\n", time.Now().Format(time.RFC3339), fmt.Sprintf(format, args...))
}
