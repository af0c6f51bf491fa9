package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// mounts turns the machine's tree into a node's: its own /proc, /sys, /run and what it writes to. The mount namespace is
// this place's own, so that all of it vanishes with the last process.
func mounts(p plan) error {
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	// A new sysfs shows this network's devices, and would hide the cgroups: those are carried over.
	const kept = "/run/cgroup"
	if err := os.Mkdir(kept, 0o755); err != nil {
		return err
	}
	if err := mount("/sys/fs/cgroup", kept, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := mount(kept, "/sys/fs/cgroup", "", syscall.MS_MOVE, ""); err != nil {
		return err
	}
	for _, dir := range p.Overlays {
		upper, work := filepath.Join(p.Disk, "upper"+dir), filepath.Join(p.Disk, "work"+dir)
		if err := mkdirs(upper, work); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
		if err := mount("overlay", dir, "overlay", 0, options); err != nil {
			return err
		}
	}
	for _, dir := range p.Binds {
		own := filepath.Join(p.Disk, "own"+dir)
		if err := mkdirs(own, dir); err != nil {
			return err
		}
		if err := mount(own, dir, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	for name, value := range p.Pinned {
		file := filepath.Join("/run/pinned", name)
		if err := mkdirs(filepath.Dir(file)); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(file, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	// Volumes that a pod mounts Bidirectional or HostToContainer need a shared tree; shared within this place only.
	return mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := syscall.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mounting %s %s on %s (%s): %w", kind, source, target, options, err)
	}
	return nil
}

func mkdirs(dirs ...string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// copyDir copies the files of a directory, as they are after symbolic links.
func copyDir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := mkdirs(to); err != nil {
		return err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}
