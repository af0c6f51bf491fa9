package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// places are the directories of a cluster. There is one cluster for each clone of the project.
type places struct {
	source, out, bin, state, logs, pki, kubeconfig string
}

func findPlaces() (places, error) {
	source, out := os.Getenv("CULVERT_CLUSTER_SOURCE"), os.Getenv("CULVERT_CLUSTER_OUT")
	if source == "" || out == "" {
		return places{}, errors.New("start it as tests/cluster/cluster")
	}
	state := filepath.Join(out, "state")
	return places{
		source:     source,
		out:        out,
		bin:        filepath.Join(out, "bin"),
		state:      state,
		logs:       filepath.Join(state, "logs"),
		pki:        filepath.Join(state, "pki"),
		kubeconfig: filepath.Join(out, "kubeconfig"),
	}, nil
}

// disk is what a node keeps over a reboot.
func (p places) disk(node string) string { return filepath.Join(p.state, "disk", node) }

// options are how a cluster was started; a reboot starts a node the same way.
type options struct {
	Nodes      int
	DualStack  bool
	ProxyMode  string
	GatewayAPI bool
}

func (p places) optionsFile() string { return filepath.Join(p.state, "options.json") }

func (p places) save(o options) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(p.optionsFile(), text, 0o644)
}

func (p places) options() (options, error) {
	var o options
	text, err := os.ReadFile(p.optionsFile())
	if errors.Is(err, os.ErrNotExist) {
		return o, errors.New("no cluster is up")
	}
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("%s: %w", p.optionsFile(), err)
	}
	return o, nil
}
