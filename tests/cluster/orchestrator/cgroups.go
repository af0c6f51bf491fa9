package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the cgroup trees of this machine: one (v2), or one for each controller (v1).
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(cgroupRoot, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && e.Type()&fs.ModeSymlink == 0 {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no cgroups are mounted in " + cgroupRoot)
	}
	return dirs, nil
}

func cgroupName(place string) string { return "culvert-" + place }

// joinCgroup makes a place's cgroup in every hierarchy, and moves this process into its leaf `init`.
func joinCgroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		for _, group := range []string{filepath.Join(dir, name), filepath.Join(dir, name, "init")} {
			if err := os.MkdirAll(group, 0o755); err != nil {
				return err
			}
			// A new cpuset of v1 is empty, and nothing may run in it.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				text, err := os.ReadFile(filepath.Join(filepath.Dir(group), file))
				if err != nil || filepath.Base(dir) != "cpuset" {
					continue
				}
				if err := os.WriteFile(filepath.Join(group, file), text, 0o644); err != nil {
					return err
				}
			}
		}
		procs := filepath.Join(dir, name, "init", "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("joining a cgroup: %w", err)
		}
	}
	return nil
}

// removeCgroup removes a place's cgroups when its processes have ended: leaves first, waiting for the kernel.
func removeCgroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		var groups []string
		root := filepath.Join(dir, name)
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		sort.Sort(sort.Reverse(sort.StringSlice(groups)))
		for _, g := range groups {
			deadline := time.Now().Add(10 * time.Second)
			for {
				err := os.Remove(g)
				if err == nil || errors.Is(err, os.ErrNotExist) {
					break
				}
				if time.Now().After(deadline) {
					return fmt.Errorf("removing a cgroup: %w", err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	return nil
}
