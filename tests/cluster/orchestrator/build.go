package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	kubernetesVersion = "v1.36.3"
	corednsVersion    = "v1.15.0"
)

// build compiles what the modules pin. The go command knows what is up to date, so that a second build takes seconds.
func build(p places) error {
	stamp := "-s -w -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
		" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
	steps := []struct{ module, flags, what string }{
		{".", stamp, "./components/..."},
		{".", "-s -w", "./pause"},
		{".", "-s -w", "./smoke"},
		{"coredns", "-s -w", "."},
		{"helm", "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0", "helm.sh/helm/v3/cmd/helm"},
		{"grpcurl", "-s -w", "github.com/fullstorydev/grpcurl/cmd/grpcurl"},
	}
	for _, s := range steps {
		c := exec.Command("go", "build", "-p", "2", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags", s.flags, "-o", p.bin+"/", s.what)
		c.Dir = filepath.Join(p.source, s.module)
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		c.Stderr = os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("building %s in %s: %w", s.what, c.Dir, err)
		}
	}
	return gatewayCRDs(p)
}

// gatewayCRDs copies the Gateway API's standard channel from its module. No program that is built here imports the module,
// so that on a new machine nothing has downloaded it yet.
func gatewayCRDs(p places) error {
	c := exec.Command("go", "mod", "download", "-json", "sigs.k8s.io/gateway-api")
	c.Dir = p.source
	c.Env = append(os.Environ(), "GOWORK=off")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("downloading the Gateway API's module: %w: %s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("what go says of the Gateway API's module: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(module.Dir, "config/crd/standard/*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("the Gateway API's module has no config/crd/standard (%v)", err)
	}
	var all strings.Builder
	for _, f := range files {
		if filepath.Base(f) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "---\n%s\n", text)
	}
	return os.WriteFile(filepath.Join(p.out, "gateway-api.yaml"), []byte(all.String()), 0o644)
}
